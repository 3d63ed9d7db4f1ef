"""``trainer``: from an architecture to a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.architecture import read_architecture
from latency_db.cli.common import IMAGE_SIZE, json_option, print_json
from latency_db.cli.errors import OneLineErrors
from latency_db.errors import InputError
from latency_db.keys import ImageSize
from trainer.architecture import Architecture
from trainer.builtin import BUILTIN

if TYPE_CHECKING:
    from trainer.network import Network


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Make networks out of architectures."""


def _network(architecture: str) -> Network:
    """The network of a built-in architecture or of a JSON file, untrained, in eval mode; raises as the reading."""
    from trainer.network import Network

    return Network(read_architecture(architecture, BUILTIN, Architecture.from_json)).eval()


@main.command()
@click.argument("architecture")
@click.option("--image-size", "image", type=IMAGE_SIZE, default="1024x2048", show_default=True, help="Height x width.")
@json_option
def info(architecture: str, image: ImageSize, as_json: bool) -> None:
    """Count what ARCHITECTURE, a JSON file or a built-in name, costs: parameters and multiply-adds."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = _network(architecture).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = network(torch.empty(1, 3, image.height, image.width, device="meta"))
    document = {
        "image_size": str(image),
        "parameters": sum(value.numel() for value in network.parameters()),
        # A multiply-add counts once here; torch counts it as two operations.
        "macs": counter.get_total_flops() // 2,
        "operators": len(network.steps),
        "output_shape": list(output.shape),
    }
    if as_json:
        print_json(document)
        return
    click.echo(
        f"{document['parameters'] / 1e6:.3f} M parameters, {document['macs'] / 1e9:.2f} GMAC at {image}, "
        f"{document['operators']} operators, output {tuple(output.shape)}"
    )


@main.command()
@click.argument("architecture")
@click.option("--output", "-o", required=True, type=click.Path(dir_okay=False), help="The ONNX file to write.")
@click.option("--image-size", "image", type=IMAGE_SIZE, default="1024x2048", show_default=True, help="Height x width.")
def export(architecture: str, output: str, image: ImageSize) -> None:
    """Write ARCHITECTURE, a JSON file or a built-in name, as an ONNX file with untrained weights."""
    from backends.onnx_export import export_onnx

    data = export_onnx(_network(architecture), (_image(image),))
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"{output}: {len(data) / 1e6:.1f} MB")


def _image(image: ImageSize) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal((1, 3, image.height, image.width), dtype=np.float32)
