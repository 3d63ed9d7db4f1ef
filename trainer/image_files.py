"""Images of a user's own, from files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from latency_db.errors import InputError
from trainer.data.files import unreadable
from trainer.data.sample import Size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MODES = ("RGB", "RGBA", "L", "P", "CMYK")


def read_image(path: Path) -> Image.Image:
    """An image as it is to be seen, mode RGB: turned as its camera noted that it was held.

    Raises:
        InputError: it cannot be read, or is no colour image of 8 bits a channel; the message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read {path}: {unreadable(error)}") from None
    if upright.mode not in _MODES:
        raise InputError(f"{path} is no colour image of 8 bits a channel: its mode is {upright.mode}")
    return upright.convert("RGB")


def image_to(image: Image.Image, size: Size) -> Image.Image:
    """An image at ``size``, resampled as the data sets do it."""
    target = (size.width, size.height)
    return image if image.size == target else image.resize(target, Image.Resampling.BILINEAR)
