"""Augmentation for training: scale, crop, flip and colour, on 8-bit images. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageEnhance

from trainer.data.errors import DataError
from trainer.data.sample import IGNORE, Sample, Size

PADDING = (124, 116, 104)
"""ImageNet's mean colour, which normalises to zero."""


@dataclass(frozen=True)
class Augment:
    """What may happen to a sample. Image and label undergo the same, except for colour.

    Attributes:
        crop: the size of what comes out.
        scale: smallest and largest factor; drawn evenly on a logarithmic scale: halving is as likely as doubling.
        flip: probability of a horizontal flip.
        brightness, contrast, saturation: each is multiplied by a factor drawn from [1 - value, 1 + value].

    Raises:
        DataError: a value that makes no sense.
    """

    crop: Size
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise DataError(f"a crop of {self.crop[0]}x{self.crop[1]} is empty")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise DataError(f"scale is {self.scale[0]} to {self.scale[1]}: it is positive and ascends")
        if not 0 <= self.flip <= 1:
            raise DataError(f"flip is {self.flip}, not a probability")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} is {getattr(self, name)}, not between 0 and 1")

    def __call__(self, sample: Sample, rng: Random) -> Sample:
        """Draw what happens from ``rng`` and do it; what the crop leaves uncovered is padded, its label ignored."""
        # All draws come first: how many there are must not depend on what they are.
        low, high = math.log(self.scale[0]), math.log(self.scale[1])
        factor = math.exp(low + (high - low) * rng.random())
        down, across, flipped = rng.random(), rng.random(), rng.random() < self.flip
        colour = [1 + value * (2 * rng.random() - 1) for value in (self.brightness, self.contrast, self.saturation)]

        width, height = sample.image.size
        rows = _window(height, max(round(height * factor), 1), self.crop[0], down)
        columns = _window(width, max(round(width * factor), 1), self.crop[1], across)
        # Only what the crop shows is resized: at factor 2 that is a small part of the image.
        box = (columns.low, rows.low, columns.high, rows.high)
        seen = (columns.length, rows.length)
        image = sample.image.resize(seen, Image.Resampling.BILINEAR, box=box)
        label = sample.label.resize(seen, Image.Resampling.NEAREST, box=box)
        if flipped:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            label = label.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for enhancer, by in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), colour, strict=True
        ):
            if by != 1:
                image = enhancer(image).enhance(by)
        return Sample(self._pad(image, rows, columns, PADDING), self._pad(label, rows, columns, IGNORE))

    def _pad(
        self, image: Image.Image, rows: _Window, columns: _Window, value: int | tuple[int, int, int]
    ) -> Image.Image:
        target = (self.crop[1], self.crop[0])
        if image.size == target:
            return image
        padded = Image.new(image.mode, target, value)
        padded.paste(image, (columns.before, rows.before))
        return padded


@dataclass(frozen=True)
class _Window:
    """An axis: the source from ``low`` to ``high`` is shown as ``length`` pixels, after ``before`` empty ones."""

    low: float
    high: float
    length: int
    before: int


def _window(native: int, scaled: int, crop: int, share: float) -> _Window:
    """Where a crop of an axis lies, once it is scaled; ``share`` in [0, 1) says which of the possible places."""
    length = min(scaled, crop)
    start = int(share * (scaled - length + 1))
    step = native / scaled
    return _Window(start * step, min((start + length) * step, float(native)), length, int(share * (crop - length + 1)))
