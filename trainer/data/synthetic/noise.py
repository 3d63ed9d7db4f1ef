"""Smooth noise out of nothing but additions and multiplications: bit for bit the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.data.hashing import uniform_field

Field = npt.NDArray[np.float32]


def value_noise(height: int, width: int, cell: float, *numbers: int) -> Field:
    """Noise in [-1, 1) of shape (height, width), linear between random values ``cell`` pixels apart."""
    rows, row_share = _places(height, cell)
    columns, column_share = _places(width, cell)
    lattice: Field = uniform_field((int(rows[-1]) + 2, int(columns[-1]) + 2), *numbers) * np.float32(2) - np.float32(1)
    # One axis after the other: the lattice is small along the axis that is still to come.
    along: Field = lattice[:, columns] + (lattice[:, columns + 1] - lattice[:, columns]) * column_share[None, :]
    return along[rows] + (along[rows + 1] - along[rows]) * row_share[:, None]


def fractal_noise(height: int, width: int, cell: float, *numbers: int) -> Field:
    """Three octaves of :func:`value_noise`, from ``cell`` pixels down to a quarter of it; within [-1, 1)."""
    total = value_noise(height, width, cell, 0, *numbers) * np.float32(4 / 7)
    total += value_noise(height, width, cell / 2, 1, *numbers) * np.float32(2 / 7)
    total += value_noise(height, width, cell / 4, 2, *numbers) * np.float32(1 / 7)
    return total


def _places(count: int, cell: float) -> tuple[npt.NDArray[np.int64], Field]:
    """For each pixel along an axis the lattice point before it and the share of the one after it."""
    position = (np.arange(count, dtype=np.float64) + 0.5) / max(cell, 1.0)
    before = np.floor(position)
    return before.astype(np.int64), (position - before).astype(np.float32)
