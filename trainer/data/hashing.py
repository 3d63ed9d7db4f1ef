"""Random numbers that are the same on every machine and in every release of Python and NumPy.

NumPy promises no such thing of its generators' methods, and orders, halves and drawn scenes must outlive an upgrade.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """One 64-bit number out of many, by SplitMix64's finaliser; their order counts."""
    state = len(numbers)
    for number in numbers:
        state = (state ^ (number & _MASK)) + _GOLDEN & _MASK
        state = (state ^ (state >> 30)) * _FIRST & _MASK
        state = (state ^ (state >> 27)) * _SECOND & _MASK
        state ^= state >> 31
    return state


def generator(*numbers: int) -> random.Random:
    """A generator seeded with all of ``numbers``. Only its ``random()`` is promised to stay the same."""
    return random.Random(mix(*numbers))


def uniform_field(shape: tuple[int, ...], *numbers: int) -> npt.NDArray[np.float32]:
    """Independent values of ``shape``, uniform in [0, 1), each a function of ``numbers`` and its place alone."""
    # The top 24 bits fill a float32's mantissa exactly: no rounding.
    return (_hashes(shape, mix(*numbers)) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def permutation(count: int, *numbers: int) -> npt.NDArray[np.int64]:
    """0 … ``count`` - 1 in an order that ``numbers`` decide."""
    return np.argsort(_hashes((count,), mix(*numbers)), kind="stable").astype(np.int64)


def _hashes(shape: tuple[int, ...], key: int) -> npt.NDArray[np.uint64]:
    count = int(np.prod(shape, dtype=np.int64))
    # Wraps around by design, as the 64-bit arithmetic above does.
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(key)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    return (state ^ (state >> np.uint64(31))).reshape(shape)
