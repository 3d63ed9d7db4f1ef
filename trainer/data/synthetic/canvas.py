"""Where a scene is drawn: colours, labels and depth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.data.synthetic.camera import Patch
from trainer.data.synthetic.noise import fractal_noise, value_noise

Colour = tuple[float, float, float]
"""Red, green, blue; 0 to 255."""


class Canvas:
    """An image under construction. What is nearer covers what is farther, in whatever order it is painted.

    Attributes:
        colour: (rows, columns, 3), 0 to 255, before light and noise.
        label: (rows, columns), class indices.
        depth: (rows, columns), metres; infinite where only the sky is.
        grain: (rows, columns), fine noise in [-1, 1).
        clumps: (rows, columns), coarser noise in [-1, 1).
    """

    def __init__(self, rows: int, columns: int, seed: int) -> None:
        self.colour: npt.NDArray[np.float32] = np.zeros((rows, columns, 3), dtype=np.float32)
        self.label: npt.NDArray[np.uint8] = np.zeros((rows, columns), dtype=np.uint8)
        self.depth: npt.NDArray[np.float32] = np.full((rows, columns), np.inf, dtype=np.float32)
        self.grain = value_noise(rows, columns, 1.5, seed, 1)
        self.clumps = fractal_noise(rows, columns, max(rows / 24, 3.0), seed, 2)

    def paint(
        self,
        patch: Patch | None,
        label: int,
        colour: Colour,
        *,
        mask: npt.NDArray[np.bool_] | None = None,
        shade: npt.NDArray[np.float64] | float = 1.0,
        texture: float = 0.05,
        clumping: float = 0.0,
    ) -> None:
        """Paint what of a surface is nearer than all that is there.

        Args:
            patch: the surface; nothing is done for None.
            label: its class.
            colour: its colour.
            mask: the part of the patch to paint, broadcastable to its mask; all of it by default.
            shade: brightness, broadcastable to the patch's mask.
            texture: how strongly fine noise shows, as a share of the brightness.
            clumping: the same for coarser noise.
        """
        if patch is None:
            return
        place = (patch.rows, patch.columns)
        # Level with what is there is enough: a window is painted onto its wall.
        seen = patch.mask & (patch.depth <= self.depth[place] * (1 + 1e-6))
        if mask is not None:
            seen &= mask
        if not seen.any():
            return
        bright = np.asarray(shade, dtype=np.float64) * (1 + texture * self.grain[place] + clumping * self.clumps[place])
        bright = np.broadcast_to(bright, seen.shape)[seen]
        self.colour[place][seen] = bright[:, None] * np.array(colour)
        self.label[place][seen] = label
        self.depth[place][seen] = np.broadcast_to(patch.depth, seen.shape)[seen]
