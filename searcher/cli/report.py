"""``searcher report``."""

from __future__ import annotations

from pathlib import Path

import click

_FILE, _FOLDER = click.Path(dir_okay=False), click.Path(file_okay=False)


@click.command()
@click.argument("run", type=click.Path())
@click.option("--trained", type=_FOLDER, help="Folder of `trainer train`: say what the training came to.")
@click.option("--seen", type=_FILE, help="Picture of `trainer grid`: show it.")
@click.option("--measured", type=_FILE, help="What `trainer bench --json` printed: say what was measured.")
@click.option(
    "--validated", type=_FOLDER, help="Folder of `latency-db validate --report`: say what predictions are worth."
)
@click.option("--output", "-o", type=_FILE, help="The page.  [default: report.html in RUN]")
def report(run: str, output: str | None, **further: str | None) -> None:
    """Write the page and the pictures of a search into its folder.

    A search does so itself at its end; this does at any time, also while it runs. Options add what came of it later.
    """
    from searcher.further import KINDS
    from searcher.report import write_report

    sections = [make(Path(path)) for kind, make in KINDS.items() if (path := further[kind]) is not None]
    click.echo(write_report(Path(run), further=sections, page=None if output is None else Path(output)))
