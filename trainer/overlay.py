"""What a network sees in an image, as pictures: colours laid over it, and masks of class indices."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.palette import VOID, Colour
from trainer.predictor import Classes


def colour_table(colours: Sequence[Colour]) -> npt.NDArray[np.uint8]:
    """(256, 3): the colour of every number that a mask may hold; void where it is no class."""
    table = np.full((256, 3), VOID, dtype=np.uint8)
    table[: len(colours)] = colours
    return table


def blend(image: Image.Image, classes: Classes, colours: Sequence[Colour], opacity: float) -> Image.Image:
    """Each pixel as a mixture of the image and of its class's colour.

    Args:
        image: mode RGB, (H, W).
        classes: (H, W).
        colours: of the classes.
        opacity: the colour's share, in [0, 1].
    """
    return Image.blend(image, Image.fromarray(colour_table(colours)[classes]), opacity)


def indexed(classes: Classes, colours: Sequence[Colour]) -> Image.Image:
    """A mask whose pixels are class indices, mode P: viewers show it in the classes' colours."""
    mask = Image.fromarray(classes, mode="L")
    mask.putpalette(colour_table(colours).tobytes(), "RGB")
    return mask


def png_bytes(image: Image.Image) -> bytes:
    """A picture as a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class OverlayFile:
    """The image with its classes' colours, as a PNG beside the other results.

    Attributes:
        colours: of the classes.
        opacity: the colours' share, in [0, 1].
    """

    colours: tuple[Colour, ...]
    opacity: float

    def name(self, picture: Path) -> Path:
        """From ``a/b.jpg`` to ``a/b_overlay.png``."""
        return picture.with_name(f"{picture.stem}_overlay.png")

    def encode(self, image: Image.Image, classes: Classes) -> bytes:
        """The file's content."""
        return png_bytes(blend(image, classes, self.colours, self.opacity))


@dataclass(frozen=True)
class MaskFile:
    """The class indices, as a PNG beside the other results.

    Attributes:
        colours: of the classes, for the file's palette.
    """

    colours: tuple[Colour, ...]

    def name(self, picture: Path) -> Path:
        """From ``a/b.jpg`` to ``a/b_mask.png``."""
        return picture.with_name(f"{picture.stem}_mask.png")

    def encode(self, image: Image.Image, classes: Classes) -> bytes:
        """The file's content."""
        return png_bytes(indexed(classes, self.colours))
