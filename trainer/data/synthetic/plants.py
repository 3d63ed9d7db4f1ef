"""What grows along a street. Each function paints one thing; positions and sizes are in metres."""

from __future__ import annotations

from random import Random

import numpy as np

from trainer.data.synthetic import palette
from trainer.data.synthetic.camera import Camera
from trainer.data.synthetic.canvas import Canvas, Colour
from trainer.data.synthetic.labels import VEGETATION
from trainer.data.synthetic.patterns import ellipse


def paint_tree(canvas: Canvas, camera: Camera, rng: Random, x: float, z: float) -> None:
    """A trunk and a crown of several clumps with holes."""
    height, spread = palette.between(rng, 3.5, 11), palette.between(rng, 1.2, 3.2)
    trunk = palette.between(rng, 0.12, 0.3)
    red, green, blue = palette.stone(rng)
    patch = camera.facing((x - trunk, x + trunk), (0.0, height * 0.6), z, thinnest=1.0)
    canvas.paint(patch, VEGETATION, (red * 0.7, green * 0.6, blue * 0.5), texture=0.2)
    colour, holes = palette.leaf(rng), palette.between(rng, -0.8, -0.25)
    for _ in range(5):
        radius = spread * palette.between(rng, 0.45, 0.9)
        middle = x + palette.between(rng, -0.6, 0.6) * spread
        level = height * palette.between(rng, 0.55, 0.95)
        _paint_foliage(canvas, camera, rng, (middle, level), radius, z, colour, holes)


def paint_bush(canvas: Canvas, camera: Camera, rng: Random, x: float, z: float) -> None:
    """Low foliage."""
    radius = palette.between(rng, 0.4, 1.1)
    _paint_foliage(canvas, camera, rng, (x, radius * 0.6), radius, z, palette.leaf(rng), -0.7)


def _paint_foliage(
    canvas: Canvas,
    camera: Camera,
    rng: Random,
    middle: tuple[float, float],
    radius: float,
    z: float,
    colour: Colour,
    holes: float,
) -> None:
    """One clump of leaves around (X, height); the background shows where the noise is below ``holes``."""
    x, level = middle
    light = palette.between(rng, 0.6, 1.15)
    patch = camera.facing((x - radius, x + radius), (max(level - radius, 0.0), level + radius), z)
    if patch is None:
        return
    clumps, grain = canvas.clumps[patch.rows, patch.columns], canvas.grain[patch.rows, patch.columns]
    ragged = 1 + 0.7 * clumps
    mask = (ellipse(patch, x, level, radius, radius) < ragged) & (clumps + 0.6 * grain > holes)
    shade = light * (0.75 + 0.35 * np.clip((patch.up - level) / radius, -1, 1))
    canvas.paint(patch, VEGETATION, colour, mask=mask, shade=shade, texture=0.3, clumping=0.35)
