"""``searcher report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path())
def report(run: str) -> None:
    """Write the page and the pictures of a search into its folder.

    A search does so itself at its end; this does at any time, also while it runs.
    """
    from searcher.report import write_report

    click.echo(write_report(Path(run)))
