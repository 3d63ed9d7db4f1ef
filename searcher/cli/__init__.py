"""``searcher``: look into the search space, search in it, and see what came of it."""

from __future__ import annotations

import click

from latency_db.cli.errors import OneLineErrors
from searcher.cli.runs import runs
from searcher.cli.sample import sample


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--db",
    metavar="URL",
    envvar="LATENCY_DB_URL",
    show_envvar=True,
    help="Database: an SQLAlchemy URL or the path of an SQLite file.  [default: latency.db in the user's data folder]",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(db: str | None, debug: bool) -> None:
    """Look into the FasterSeg search space."""


main.add_command(runs)
main.add_command(sample)
