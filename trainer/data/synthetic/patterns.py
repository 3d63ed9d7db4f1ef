"""Repetition and roundness on a surface."""

from __future__ import annotations

import numpy as np

from trainer.data.synthetic.camera import Array, Patch


def phase(value: Array, period: float) -> Array:
    """Where in its period each value is, from 0 to 1."""
    share = value / period
    return share - np.floor(share)


def ellipse(patch: Patch, along: float, up: float, half_width: float, half_height: float) -> Array:
    """How far each pixel is from an ellipse's middle, squared: 1 on the ellipse."""
    across, above = (patch.along - along) / half_width, (patch.up - up) / half_height
    return across * across + above * above
