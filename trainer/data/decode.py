"""From what label files hold to class indices. What no table knows is an error, never silently a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.errors import DataError
from trainer.data.sample import IGNORE


@dataclass(frozen=True)
class IndexLabels:
    """Labels whose pixels are numbers.

    Attributes:
        table: for each value a class index or 255; 256 entries, None where the value is unknown.
        means: what values are allowed, for messages.
    """

    table: tuple[int | None, ...]
    means: str

    @classmethod
    def of(cls, known: Mapping[int, int], means: str) -> IndexLabels:
        """The decoder for the values that ``known`` maps to class indices or 255."""
        return cls(tuple(known.get(value) for value in range(256)), means)

    def __call__(self, label: Image.Image, path: Path) -> Image.Image:
        """Class indices, mode L.

        Raises:
            DataError: not an index image, or values that the table does not know.
        """
        if label.mode not in ("L", "P"):
            raise DataError(f"{path} is no image of class indices (8 bits, one channel): its mode is {label.mode}")
        # A palette's indices are the labels, whatever colours it gives them.
        plain = label if label.mode == "L" else Image.fromarray(np.asarray(label))
        strange = [value for value, count in enumerate(plain.histogram()) if count and self.table[value] is None]
        if strange:
            listed = ", ".join(map(str, strange[:5])) + (", …" if len(strange) > 5 else "")
            raise DataError(f"{path} has labels with values that are none: {listed}; allowed are {self.means}")
        return plain.point([IGNORE if entry is None else entry for entry in self.table])


@dataclass(frozen=True)
class ColourLabels:
    """Labels whose pixels are colours of channels 0, 64, 128 and 192.

    Attributes:
        table: for each colour, two bits a channel, a class index or 255; 64 entries, None for no such colour.
    """

    table: tuple[int | None, ...]

    @classmethod
    def of(cls, known: Mapping[tuple[int, int, int], int]) -> ColourLabels:
        """The decoder for the colours that ``known`` maps to class indices or 255."""
        coded = {(red >> 6) << 4 | (green >> 6) << 2 | blue >> 6: value for (red, green, blue), value in known.items()}
        return cls(tuple(coded.get(code) for code in range(64)))

    def __call__(self, label: Image.Image, path: Path) -> Image.Image:
        """Class indices, mode L.

        Raises:
            DataError: not a colour image, or colours that the table does not know.
        """
        if label.mode not in ("RGB", "RGBA", "P"):
            raise DataError(f"{path} is no image of label colours: its mode is {label.mode}")
        colours = np.asarray(label.convert("RGB"))
        high = colours >> 6
        codes = high[..., 0] << 4 | high[..., 1] << 2 | high[..., 2]
        strange = (colours & 63).any(axis=2) | np.array([entry is None for entry in self.table])[codes]
        if strange.any():
            red, green, blue = (int(channel) for channel in colours[strange][0])
            raise DataError(f"{path} has a colour that stands for no class: ({red}, {green}, {blue})")
        indices = np.array([IGNORE if entry is None else entry for entry in self.table], dtype=np.uint8)
        return Image.fromarray(indices[codes])
