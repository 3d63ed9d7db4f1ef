"""``searcher show``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from latency_db.errors import InputError

_FORMATS: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}


@click.command()
@click.argument("architecture")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    help="File to write, .png or .svg.  [default: the architecture's name with .png]",
)
def show(architecture: str, output: str | None) -> None:
    """Draw ARCHITECTURE, a JSON file or a built-in name: its branches over scales and layers.

    Every cell is a box with its operator, its expansion ratio and the channels that it emits; what branches share is
    there once.
    """
    from latency_db.cli.architecture import read_architecture
    from searcher.drawing import draw_architecture
    from trainer.architecture import Architecture
    from trainer.builtin import BUILTIN

    path = Path(f"{Path(architecture).stem}.png" if output is None else output)
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: a picture ends in {' or '.join(_FORMATS)}")
    network = read_architecture(architecture, BUILTIN, Architecture.from_json)
    picture = draw_architecture(network, title=Path(architecture).stem, image_format=_FORMATS[path.suffix.lower()])
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    click.echo(path)
