"""Samples that lie in files: an image and a label each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from PIL import Image, UnidentifiedImageError

from trainer.data.errors import DataError
from trainer.data.sample import Sample, Size

Decoder = Callable[[Image.Image, Path], Image.Image]
"""From a label file's image to class indices (mode L); the path is for the message of the DataError that it raises."""

_IMAGE_MODES = ("RGB", "RGBA", "L", "P", "CMYK")


@dataclass(frozen=True)
class Pair:
    """An image's file and its label's."""

    image: Path
    label: Path


@dataclass(frozen=True)
class PairedFiles:
    """A source that reads pairs of files.

    Attributes:
        name: the data set's name.
        classes: its classes' names.
        pairs: its files, at least one pair.
        size: the first image's size, or that to which samples are brought.
        decode: how a label file is read.
        resize: whether samples are brought to ``size``.
    """

    name: str
    classes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    size: Size
    decode: Decoder
    resize: bool = False

    @classmethod
    def of(cls, name: str, classes: tuple[str, ...], pairs: list[Pair], decode: Decoder) -> Self:
        """A source with the native size of its first image.

        Raises:
            DataError: that image cannot be read.
        """
        with _open(pairs[0].image) as image:
            width, height = image.size
        return cls(name, classes, tuple(pairs), Size(height, width), decode)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> Sample:
        """Sample ``index``.

        Raises:
            DataError: one of its files cannot be read, or they do not fit each other; the message names the file.
        """
        pair = self.pairs[index]
        image = _load(pair.image)
        if image.mode not in _IMAGE_MODES:
            raise DataError(f"{pair.image} is no colour image of 8 bits a channel: its mode is {image.mode}")
        label = self.decode(_load(pair.label), pair.label)
        if image.size != label.size:
            raise DataError(f"{pair.label} is {_text(label)} (height x width), but {pair.image} is {_text(image)}")
        return Sample(self._fit(image.convert("RGB"), Image.Resampling.BILINEAR), self._fit_label(label))

    def read_label(self, index: int) -> Image.Image:
        """The label of :meth:`read`; the image is not read."""
        path = self.pairs[index].label
        return self._fit_label(self.decode(_load(path), path))

    def resized(self, size: Size) -> Self:
        """The same samples brought to ``size``."""
        return replace(self, size=size, resize=True)

    def limited(self, count: int) -> Self:
        """The first ``count`` samples.

        Raises:
            DataError: there are not so many, or none is asked for.
        """
        if not 1 <= count <= len(self.pairs):
            raise DataError(f"{self.name} has {len(self.pairs)} images in this split; {count} were asked for")
        return replace(self, pairs=self.pairs[:count])

    def _fit(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        target = (self.size.width, self.size.height)
        if not self.resize or image.size == target:
            return image
        return image.resize(target, resampling)

    def _fit_label(self, label: Image.Image) -> Image.Image:
        return self._fit(label, Image.Resampling.NEAREST)


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {unreadable(error)}") from None


def _load(path: Path) -> Image.Image:
    with _open(path) as image:
        try:
            image.load()
        # Pillow reports a broken PNG as a SyntaxError.
        except (OSError, SyntaxError) as error:
            raise DataError(f"cannot read {path}: {unreadable(error)}") from None
    return image


def unreadable(error: Exception) -> str:
    """Why Pillow could not read a file, in a few words; it reports a broken PNG as a SyntaxError."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())


def _text(image: Image.Image) -> str:
    return f"{image.height}x{image.width}"
