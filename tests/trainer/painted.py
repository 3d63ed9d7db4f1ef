"""A network that can be seen through, and images for it: a pixel's class is the nearest of some colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from trainer.data.dataset import MEAN, STD
from trainer.networks import NetworkSpec
from trainer.palette import distinct_colours
from trainer.trained import Trained, save_trained

FACTORY = "tests.trainer.painted:nearest_colour"


def nearest_colour(num_classes: int) -> nn.Module:
    """‖x − c‖² is least where 2 c·x − ‖c‖² is most: a 1×1 convolution."""
    mean, std = np.array(MEAN), np.array(STD)
    colours = (np.array(distinct_colours(num_classes)) / 255 - mean) / std
    network = nn.Conv2d(3, num_classes, 1)
    with torch.no_grad():
        network.weight.copy_(torch.from_numpy(2 * colours)[:, :, None, None])
        network.bias.copy_(torch.from_numpy(-(colours**2).sum(1)))
    return network


def trained(classes: tuple[str, ...], dataset: str = "folder", size: tuple[int, int] | None = None) -> Trained:
    spec = NetworkSpec(kind="module", name=FACTORY)
    return Trained(spec=spec, classes=classes, module=nearest_colour(len(classes)).eval(), dataset=dataset, size=size)


def save(path: Path, classes: tuple[str, ...], dataset: str = "folder", size: tuple[int, int] | None = None) -> Path:
    save_trained(path, trained(classes, dataset, size))
    return path


def blocks(num_classes: int, height: int = 64, width: int = 96, step: int = 8) -> npt.NDArray[np.uint8]:
    """Classes in blocks, all of them if there is room."""
    rows, columns = -(-height // step), -(-width // step)
    small = (np.arange(rows * columns) % num_classes).astype(np.uint8).reshape(rows, columns)
    return small.repeat(step, 0).repeat(step, 1)[:height, :width]


def paint(classes: npt.NDArray[np.uint8], num_classes: int) -> Image.Image:
    """An image that the network sees these classes in."""
    return Image.fromarray(np.array(distinct_colours(num_classes), dtype=np.uint8)[classes])
