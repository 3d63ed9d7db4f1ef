"""``trainer eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import json_option, print_json, print_table
from trainer.cli.counting import Counting
from trainer.cli.trained_options import image_size, load, network_option, size_option, torch_device_option

if TYPE_CHECKING:
    from latency_db.keys import ImageSize
    from trainer.cost import Cost
    from trainer.evaluate import Evaluation
    from trainer.trained import Trained


@click.command("eval")
@click.argument("checkpoint", metavar="CHECKPOINT|RUN")
@click.option("--dataset", required=True, help="Data set by name.")
@click.option("--data", type=click.Path(), help="Its folder.")
@click.option("--split", default="val", show_default=True, help="Images to judge it on.")
@click.option("--count", type=click.IntRange(min=1), help="Take only so many images, or draw so many.")
@size_option
@network_option
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Images at once.")
@click.option(
    "--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Processes that read images ahead."
)
@torch_device_option
@json_option
def evaluate(
    checkpoint: str,
    dataset: str,
    data: str | None,
    split: str,
    count: int | None,
    size: ImageSize | str | None,
    network: str | None,
    batch_size: int,
    workers: int,
    torch_device: str,
    as_json: bool,
) -> None:
    """Judge a trained network on a data set: mIoU, parameters and multiply-adds.

    CHECKPOINT is a file that `trainer train` wrote, RUN the folder of a training that has ended. Intersection over
    union is counted over the pixels of the whole split that have a class, at the full resolution of the labels: one
    scale, no flips.
    """
    from trainer.data import open_dataset
    from trainer.evaluate import evaluate as judge
    from trainer.runs.torch_device import open_device

    device = open_device(torch_device)
    trained = load(checkpoint, network, device)
    images = open_dataset(dataset, data, split, count=count)
    found = judge(
        trained,
        images,
        size=image_size(size, trained),
        device=device,
        batch_size=batch_size,
        workers=workers,
        on_images=Counting(len(images)),
    )
    cost = _cost(trained, found)
    if as_json:
        print_json(
            {"checkpoint": checkpoint, "network": trained.spec.name, "trained_on": trained.dataset}
            | {"dataset": dataset, "split": split}
            | _document(found, cost)
        )
        return
    click.echo(
        f"{trained.spec.name}: mIoU {found.miou:.2%} over {found.counted} of {len(found.iou)} classes, "
        f"{found.images} images of {dataset} {split} at {found.image_size.height}x{found.image_size.width}"
    )
    print_table(
        ("class", "IoU"), [(name, "-" if value is None else f"{value:.2%}") for name, value in found.iou.items()]
    )
    if cost is not None:
        click.echo(f"{cost.parameters / 1e6:.3f} M parameters, {cost.macs / 1e9:.2f} GMAC per image")


def _cost(trained: Trained, found: Evaluation) -> Cost | None:
    """None, and a line that says why, for a module that cannot be counted: its accuracy is known all the same."""
    from trainer.cost import CostError, count_cost

    try:
        return count_cost(trained.module, found.image_size)
    except CostError as error:
        click.echo(f"Not counted: {error}", err=True)
        return None


def _document(found: Evaluation, cost: Cost | None) -> dict[str, Any]:
    return {
        "images": found.images,
        "image_size": f"{found.image_size.height}x{found.image_size.width}",
        "miou": found.miou,
        "classes_counted": found.counted,
        "iou": dict(found.iou),
        "parameters": None if cost is None else cost.parameters,
        "macs": None if cost is None else cost.macs,
    }
