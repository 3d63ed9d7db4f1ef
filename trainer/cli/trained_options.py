"""Options of the commands that take a trained network, and the network that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import Command, ImageSizeType
from latency_db.keys import ImageSize

if TYPE_CHECKING:
    import torch

    from trainer.trained import Trained

OWN = "own"


class SizeType(click.ParamType[Any]):
    """HEIGHTxWIDTH, or ``own``."""

    name = f"HxW|{OWN}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        return value if value == OWN else ImageSizeType().convert(value, param, ctx)


def size_option(command: Command) -> Command:
    """``--size``."""
    return click.option(
        "--size",
        type=SizeType(),
        help=f"Bring images to this size for the network; '{OWN}' leaves them as they are.  "
        "[default: the size that it was trained at]",
    )(command)


def torch_device_option(command: Command) -> Command:
    """``--torch-device``."""
    return click.option(
        "--torch-device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1."
    )(command)


def network_option(command: Command) -> Command:
    """``--network``."""
    return click.option(
        "--network",
        metavar="PKG.MOD:FACTORY",
        help="Where the network is a module of your own: the callable that makes it.",
    )(command)


def load(checkpoint: str, network: str | None, device: torch.device) -> Trained:
    """The trained network in a file or in the folder of a training; raises as reading it."""
    from trainer.networks import find_network
    from trainer.trained import load_trained

    return load_trained(Path(checkpoint), device, network=None if network is None else find_network(network))


def image_size(size: ImageSize | str | None, trained: Trained) -> tuple[int, int] | None:
    """Height and width of the network's input that ``--size`` means; None for the images' own."""
    if isinstance(size, ImageSize):
        return size.height, size.width
    return None if size == OWN else trained.size
