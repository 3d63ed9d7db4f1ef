"""From surfaces to a photograph: haze, light, lens and sensor."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt

from trainer.data.hashing import uniform_field
from trainer.data.synthetic.canvas import Canvas
from trainer.data.synthetic.palette import between

Photograph = npt.NDArray[np.uint8]


def expose(canvas: Canvas, rng: Random, seed: int) -> Photograph:
    """The canvas as a camera would have taken it, (rows, columns, 3)."""
    image = canvas.colour.copy()
    rows, columns = canvas.label.shape

    reach = np.float32(between(rng, 60, 500))
    haze = np.array([between(rng, 130, 215)] * 3, dtype=np.float32) * np.array([0.97, 1.0, 1.05], dtype=np.float32)
    depth = np.where(np.isfinite(canvas.depth), canvas.depth, np.float32(0))
    share = (depth / (depth + reach))[:, :, None]
    image += share * (haze - image)

    level, warmth = between(rng, 0.65, 1.35), between(rng, -0.13, 0.13)
    image *= np.array([level * (1 + warmth), level, level * (1 - warmth)], dtype=np.float32)

    down = (np.arange(rows, dtype=np.float32)[:, None] / np.float32(rows)) - np.float32(0.5)
    across = (np.arange(columns, dtype=np.float32)[None, :] / np.float32(columns)) - np.float32(0.5)
    image *= (1 - np.float32(between(rng, 0, 0.5)) * (down * down + across * across))[:, :, None]

    image = _soften(image)
    noise = uniform_field((rows, columns, 3), seed, 20) + uniform_field((rows, columns, 3), seed, 21)
    image += np.float32(between(rng, 2, 14)) * (noise - np.float32(1))
    return np.clip(image, 0, 255).astype(np.uint8)


def _soften(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A lens: each pixel with a quarter of its neighbours, along rows and then columns."""
    half, quarter = np.float32(0.5), np.float32(0.25)
    for axis in (0, 1):
        first, last = np.take(image, [0], axis=axis), np.take(image, [-1], axis=axis)
        padded = np.concatenate([first, image, last], axis=axis)
        count = image.shape[axis]
        before = padded[:count] if axis == 0 else padded[:, :count]
        after = padded[2:] if axis == 0 else padded[:, 2:]
        image = image * half + (before + after) * quarter
    return image
