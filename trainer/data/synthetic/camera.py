"""The camera above the street, and the surfaces that it sees as patches of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
NEAR = 1.0
"""Nothing closer than this is drawn, in metres."""


@dataclass(frozen=True)
class Patch:
    """The pixels of a flat surface, with each pixel's place on it.

    Attributes:
        rows, columns: the rectangle of the image that holds the surface.
        mask: which of its pixels the surface covers, (rows, columns).
        along: metres along the surface's horizontal, broadcastable to the mask.
        up: metres above the ground, broadcastable to the mask.
        depth: metres from the camera, broadcastable to the mask.
    """

    rows: slice
    columns: slice
    mask: npt.NDArray[np.bool_]
    along: Array
    up: Array
    depth: Array


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along a street that may bend.

    Street coordinates: X metres to the right of the street's axis, height above the ground, Z metres ahead.

    Attributes:
        rows, columns: the image's size in pixels.
        focal: focal length in pixels.
        horizon: the horizon's row.
        height: metres above the ground.
        offset: metres that the camera stands to the right of the street's axis.
        bend: the axis lies bend · Z² metres to the right at Z.
    """

    rows: int
    columns: int
    focal: float
    horizon: float
    height: float
    offset: float
    bend: float

    def column(self, x: float, z: float) -> float:
        """Where (X, Z) appears, in pixels from the image's left edge."""
        return self.columns / 2 + self.focal * (x - self.offset + self.bend * z * z) / z

    @cached_property
    def ground(self) -> tuple[slice, Array, Array]:
        """The rows below the horizon, with X (rows, columns) and Z (rows, 1) of their pixels on the ground."""
        first = min(max(int(self.horizon) + 1, 0), self.rows)
        below = np.arange(first, self.rows, dtype=np.float64) + 0.5 - self.horizon
        z = (self.focal * self.height / below)[:, None]
        across = (np.arange(self.columns, dtype=np.float64) + 0.5 - self.columns / 2)[None, :] / self.focal
        return slice(first, self.rows), across * z + self.offset - self.bend * z * z, z

    def facing(self, x: tuple[float, float], up: tuple[float, float], z: float, thinnest: float = 0.0) -> Patch | None:
        """An upright rectangle across the street at Z; at least ``thinnest`` pixels wide. None where it is not seen."""
        if z < NEAR:
            return None
        left, right = self.column(x[0], z), self.column(x[1], z)
        spare = max(thinnest - (right - left), 0.0) / 2
        columns = _span(left - spare, right + spare, self.columns)
        scale = self.focal / z
        rows = self._rows(up, scale, scale)
        if columns is None or rows is None:
            return None
        along = ((_centres(columns) - left) / scale + x[0])[None, :]
        height = (self.height - (_centres(rows) - self.horizon) / scale)[:, None]
        mask = np.ones((rows.stop - rows.start, columns.stop - columns.start), dtype=np.bool_)
        return Patch(rows, columns, mask, along, height, np.full((1, 1), z))

    def lengthwise(self, x: float, up: tuple[float, float], z: tuple[float, float]) -> Patch | None:
        """An upright rectangle along the street at X, from Z to Z. None where it is not seen."""
        near, far = max(z[0], NEAR), z[1]
        if far <= near:
            return None
        start, end = self.column(x, near), self.column(x, far)
        columns = _span(min(start, end), max(start, end), self.columns)
        rows = self._rows(up, self.focal / near, self.focal / far)
        if columns is None or rows is None:
            return None
        # Along a straight edge 1/Z is linear in the image.
        share = np.clip((_centres(columns) - start) / (end - start), 0.0, 1.0)
        depth = (1 / (1 / near + share * (1 / far - 1 / near)))[None, :]
        height = self.height - (_centres(rows) - self.horizon)[:, None] * (depth / self.focal)
        return Patch(rows, columns, (height >= up[0]) & (height < up[1]), depth, height, depth)

    def _rows(self, up: tuple[float, float], *scales: float) -> slice | None:
        edges = [self.horizon + (self.height - height) * scale for height in up for scale in scales]
        return _span(min(edges), max(edges), self.rows)


def _span(low: float, high: float, limit: int) -> slice | None:
    """The pixels whose centres lie in [low, high), clipped to the image; None where there is none."""
    first = int(np.ceil(min(max(low, 0.0), float(limit)) - 0.5))
    last = int(np.ceil(min(max(high, 0.0), float(limit)) - 0.5))
    return slice(first, last) if last > first else None


def _centres(pixels: slice) -> Array:
    return np.arange(pixels.start, pixels.stop, dtype=np.float64) + 0.5
