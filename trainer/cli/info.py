"""``trainer info``."""

from __future__ import annotations

import click

from latency_db.cli.architecture import read_architecture
from latency_db.cli.common import IMAGE_SIZE, json_option, print_json
from latency_db.keys import ImageSize
from trainer.architecture import Architecture
from trainer.builtin import BUILTIN


@click.command()
@click.argument("architecture")
@click.option("--image-size", "image", type=IMAGE_SIZE, default="1024x2048", show_default=True, help="Height x width.")
@json_option
def info(architecture: str, image: ImageSize, as_json: bool) -> None:
    """Count what ARCHITECTURE, a JSON file or a built-in name, costs: parameters and multiply-adds."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from trainer.network import Network

    network = Network(read_architecture(architecture, BUILTIN, Architecture.from_json)).eval().to("meta")
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
