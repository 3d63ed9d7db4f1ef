"""``searcher``: look into the search space, search in it, and see what came of it."""

from __future__ import annotations

import click

from latency_db.cli.common import db_option
from latency_db.cli.errors import OneLineErrors
from searcher.cli.compare import compare
from searcher.cli.derive import derive
from searcher.cli.report import report
from searcher.cli.run import run
from searcher.cli.runs import runs
from searcher.cli.sample import sample
from searcher.cli.show import show


class _OneLine(OneLineErrors):
    interrupted = "Interrupted. What was found is kept; a search goes on with --resume and its --out."


@click.group(cls=_OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@db_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(db: str | None, debug: bool) -> None:
    """Search for networks that are fast on a device, and look into the space that is searched."""


main.add_command(compare)
main.add_command(derive)
main.add_command(report)
main.add_command(run)
main.add_command(runs)
main.add_command(sample)
main.add_command(show)
