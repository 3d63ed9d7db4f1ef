"""``searcher``: look into the search space, search in it, and see what came of it."""

from __future__ import annotations

import click

from latency_db.cli.errors import OneLineErrors
from searcher.cli.sample import sample


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Look into the FasterSeg search space."""


main.add_command(sample)
