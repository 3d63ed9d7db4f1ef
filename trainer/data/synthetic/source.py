"""Drawn streets as a source of samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from PIL import Image

from trainer.data.errors import DataError
from trainer.data.sample import Sample, Size
from trainer.data.synthetic.labels import CLASSES
from trainer.data.synthetic.scene import draw, scene_seed

SPLITS = {"train": 2000, "val": 250, "test": 250}
"""The splits and how many scenes each has, where nobody asks for another number."""
NATIVE = Size(256, 512)
"""The size of the scenes, where nobody asks for another."""
SMALLEST = 32
"""Fewer rows or columns show no street."""


@dataclass(frozen=True)
class SyntheticStreets:
    """Streets drawn when they are asked for: a scene depends on seed, split, index and size, and on nothing else.

    Attributes:
        split: one of :data:`SPLITS`; no scene is in two of them.
        count: how many scenes there are.
        size: the images' size.
        seed: another seed gives another town.

    Raises:
        DataError: no such split, no scene, or a size below :data:`SMALLEST`.
    """

    split: str
    count: int
    size: Size = NATIVE
    seed: int = 0

    name = "synthetic"
    classes = CLASSES

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"synthetic has no split {self.split!r}: it has {', '.join(SPLITS)}")
        if self.count < 1:
            raise DataError(f"synthetic: {self.count} images were asked for; at least one is needed")
        if min(self.size) < SMALLEST:
            height, width = self.size
            raise DataError(f"synthetic: {height}x{width} is too small; {SMALLEST}x{SMALLEST} is the smallest")

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        """Draw scene ``index``."""
        stream = tuple(SPLITS).index(self.split)
        image, label = draw(self.size.height, self.size.width, scene_seed(self.seed, stream, index))
        return Sample(Image.fromarray(image), Image.fromarray(label))

    def read_label(self, index: int) -> Image.Image:
        """The label of scene ``index``."""
        return self.read(index).label

    def resized(self, size: Size) -> Self:
        """The same streets drawn at another size."""
        return replace(self, size=size)

    def limited(self, count: int) -> Self:
        """The first ``count`` scenes; there is no end to them."""
        return replace(self, count=count)


def open_synthetic(root: Path | None, split: str) -> SyntheticStreets:
    """The scenes of ``split``; they come from no folder.

    Raises:
        DataError: a folder is given, or there is no such split.
    """
    if root is not None:
        raise DataError(f"synthetic is drawn and takes no folder, but {root} is given")
    return SyntheticStreets(split, SPLITS.get(split, 1))
