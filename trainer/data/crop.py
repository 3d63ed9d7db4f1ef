"""Whether crops are large enough to train on."""

from __future__ import annotations

import math

from trainer.data.errors import DataError

SMALLEST = 64
"""The coarsest scale is 1/32, and zoomed operators work at half of it."""


def check_crop(crop: tuple[int, int], batch_size: int) -> None:
    """Norms need more than one value per channel where maps are smallest: at 1/64, in zoomed operators.

    Raises:
        DataError: there would be one.
    """
    height, width = crop
    if min(crop) < SMALLEST:
        raise DataError(f"data.crop is {height}x{width}: at least {SMALLEST}x{SMALLEST}")
    if batch_size * math.ceil(height / SMALLEST) * math.ceil(width / SMALLEST) < 2:
        raise DataError(
            f"batches of {batch_size} crops of {height}x{width} leave one value per channel at 1/{SMALLEST}: "
            "take a larger crop or batch"
        )
