"""``trainer info``."""

from __future__ import annotations

import click

from latency_db.cli.common import IMAGE_SIZE, json_option, print_json
from latency_db.keys import ImageSize

CITYSCAPES_CLASSES = 19


@click.command()
@click.argument("network")
@click.option("--image-size", "image", type=IMAGE_SIZE, default="1024x2048", show_default=True, help="Height x width.")
@click.option(
    "--classes",
    type=click.IntRange(min=1),
    help=f"How many the logits have.  [default: the architecture's own, of others {CITYSCAPES_CLASSES}]",
)
@json_option
def info(network: str, image: ImageSize, classes: int | None, as_json: bool) -> None:
    """Count what NETWORK costs: parameters and multiply-adds.

    NETWORK is the JSON file of an architecture, the name of a built-in one or of a network of the zoo, or
    package.module:factory, a callable that takes the number of classes and returns a module.
    """
    from trainer.cost import count_cost
    from trainer.network import Network
    from trainer.networks import find_network

    spec = find_network(network)
    if classes is None:
        classes = CITYSCAPES_CLASSES if spec.architecture is None else spec.architecture.num_classes
    module = spec.build(classes)
    cost = count_cost(module, (image.height, image.width))
    operators = len(module.steps) if isinstance(module, Network) else None
    if as_json:
        print_json(
            {
                "image_size": str(image),
                "parameters": cost.parameters,
                "macs": cost.macs,
                "operators": operators,
                "output_shape": list(cost.output_shape),
            }
        )
        return
    click.echo(
        f"{cost.parameters / 1e6:.3f} M parameters, {cost.macs / 1e9:.2f} GMAC at {image}, "
        f"{'' if operators is None else f'{operators} operators, '}output {cost.output_shape}"
    )
