"""``trainer``: from an architecture to a network."""

from __future__ import annotations

import click

from latency_db.cli.common import db_option
from latency_db.cli.errors import OneLineErrors
from trainer.cli.bench import bench
from trainer.cli.compare import compare
from trainer.cli.eval import evaluate
from trainer.cli.export import export
from trainer.cli.grid import grid
from trainer.cli.info import info
from trainer.cli.predict import predict
from trainer.cli.train import train


class _OneLine(OneLineErrors):
    interrupted = (
        "Interrupted. What was learned or measured is kept: a training goes on with --resume and its --out, "
        "measuring with the same command."
    )


@click.group(cls=_OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@db_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(db: str | None, debug: bool) -> None:
    """Train networks, judge them, use them, export and measure them."""


main.add_command(bench)
main.add_command(compare)
main.add_command(evaluate)
main.add_command(export)
main.add_command(grid)
main.add_command(info)
main.add_command(predict)
main.add_command(train)
