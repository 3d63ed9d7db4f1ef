"""Whether crops are large enough to train on."""

from __future__ import annotations

import math

from trainer.data.errors import DataError

SMALLEST = 64
"""The coarsest scale is 1/32, and zoomed operators work at half of it."""


def check_crop(crop: tuple[int, int], batch_size: int) -> None:
    """Whether crops of this size in batches of this size can be trained on.

    Raises:
        DataError: they are too small.
    """
    _check("data.crop is", "crops", "take a larger crop or batch", crop, batch_size)


def check_image(size: tuple[int, int]) -> None:
    """Whether norms can learn from single images of this size, as they are.

    Raises:
        DataError: they are too small.
    """
    _check("images are", "images", "bring them to a larger size, as --size 128x128 does", size, 1)


def _check(found: str, what: str, remedy: str, size: tuple[int, int], batch_size: int) -> None:
    """Norms need more than one value per channel where maps are smallest: at 1/64, in zoomed operators."""
    height, width = size
    if min(size) < SMALLEST:
        raise DataError(f"{found} {height}x{width}: at least {SMALLEST}x{SMALLEST}")
    if batch_size * math.ceil(height / SMALLEST) * math.ceil(width / SMALLEST) < 2:
        raise DataError(
            f"batches of {batch_size} {what} of {height}x{width} leave one value per channel at 1/{SMALLEST}: {remedy}"
        )
