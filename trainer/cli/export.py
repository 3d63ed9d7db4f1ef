"""``trainer export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latency_db.cli.architecture import read_architecture
from latency_db.cli.common import IMAGE_SIZE
from latency_db.errors import InputError
from latency_db.keys import ImageSize
from trainer.architecture import Architecture
from trainer.builtin import BUILTIN


@click.command()
@click.argument("architecture")
@click.option("--output", "-o", required=True, type=click.Path(dir_okay=False), help="The ONNX file to write.")
@click.option("--image-size", "image", type=IMAGE_SIZE, default="1024x2048", show_default=True, help="Height x width.")
def export(architecture: str, output: str, image: ImageSize) -> None:
    """Write ARCHITECTURE, a JSON file or a built-in name, as an ONNX file with untrained weights."""
    from backends.onnx_export import export_onnx
    from trainer.network import Network

    network = Network(read_architecture(architecture, BUILTIN, Architecture.from_json)).eval()
    data = export_onnx(network, (_image(image),))
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from None
    click.echo(f"{output}: {len(data) / 1e6:.1f} MB")


def _image(image: ImageSize) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal((1, 3, image.height, image.width), dtype=np.float32)
