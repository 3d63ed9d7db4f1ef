"""``trainer``: from an architecture to a network."""

from __future__ import annotations

import click

from latency_db.cli.errors import OneLineErrors
from trainer.cli.eval import evaluate
from trainer.cli.export import export
from trainer.cli.info import info
from trainer.cli.train import train


class _OneLine(OneLineErrors):
    interrupted = "Interrupted. What was learned is kept; a training goes on with --resume and its --out."


@click.group(cls=_OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Make networks out of architectures."""


main.add_command(evaluate)
main.add_command(export)
main.add_command(info)
main.add_command(train)
