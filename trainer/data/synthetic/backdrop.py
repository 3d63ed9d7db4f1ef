"""What every street has: the sky, the ground and what closes the view at the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from trainer.data.synthetic import palette
from trainer.data.synthetic.camera import Camera
from trainer.data.synthetic.canvas import Canvas
from trainer.data.synthetic.labels import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION
from trainer.data.synthetic.noise import fractal_noise
from trainer.data.synthetic.patterns import phase


@dataclass(frozen=True)
class Street:
    """The street's cross-section in metres: half the carriageway's width, and the pavements' width on each side."""

    half_road: float
    pavement: float

    @property
    def edge(self) -> float:
        """From the axis to where the houses begin."""
        return self.half_road + self.pavement


def paint_sky(canvas: Canvas, camera: Camera, rng: Random, seed: int) -> None:
    """A gradient with clouds, over the whole image."""
    rows, columns = canvas.label.shape
    high, low = palette.sky(rng)
    down = np.clip((np.arange(rows) + 0.5) / max(camera.horizon, 1.0), 0, 1)[:, None, None]
    canvas.colour[:] = np.array(high) * (1 - down) + np.array(low) * down
    clouds = fractal_noise(rows, columns, max(columns / 6, 4.0), seed, 3)
    strength = palette.between(rng, 0.0, 0.3)
    canvas.colour *= (1 + np.float32(strength) * clouds)[:, :, None]
    canvas.label[:] = SKY


def paint_ground(canvas: Canvas, camera: Camera, street: Street, rng: Random) -> None:
    """Carriageway with markings, pavements with slabs, grass beyond; patches and shadows across all of them."""
    rows, x, z = camera.ground
    side = np.abs(x)
    road, pavement = side < street.half_road, side < street.edge
    # Roads, pavements and their repairs come out of one box of greys.
    tones = [np.array(palette.stone(rng)) for _ in range(3)]
    grass = np.array(palette.leaf(rng) if rng.random() < 0.7 else palette.stone(rng))
    colour = np.where(road[:, :, None], tones[0], np.where(pavement[:, :, None], tones[1], grass))

    low, length = palette.between(rng, -street.half_road, street.half_road), palette.between(rng, 5, 40)
    repaired = road & (x > low) & (x < low + 2.5) & (phase(z, length) < 0.3)
    colour = np.where(repaired[:, :, None], tones[2], colour)

    slabs = palette.between(rng, 0.5, 1.5)
    joint = ((phase(x, slabs) < 0.05) | (phase(z, slabs) < 0.05)) & (z < 25)
    if rng.random() < 0.6:
        colour = np.where((joint & pavement & ~road)[:, :, None], colour * 0.8, colour)
    else:
        # Paved roads have joints, too.
        colour = np.where((joint & pavement)[:, :, None], colour * 0.85, colour)

    kerb = np.abs(side - street.half_road) < 0.1
    colour = np.where(kerb[:, :, None], colour * palette.between(rng, 0.6, 1.35), colour)

    dash = palette.between(rng, 4, 12)
    marked = (side < 0.09) & (phase(z, dash) < palette.between(rng, 0.3, 1.1))
    if rng.random() < 0.4:
        marked |= np.abs(side - street.half_road + 0.4) < 0.07
    if rng.random() < 0.4:
        crossing = palette.between(rng, 5, 30)
        marked |= road & (z > crossing) & (z < crossing + 3) & (phase(x, 1.0) < 0.5)
    white = np.array([1.0, 1.0, palette.between(rng, 0.5, 1.0)]) * palette.between(rng, 130, 225)
    colour = np.where((marked & road)[:, :, None], white, colour)

    shade = np.ones_like(side)
    if rng.random() < 0.6:
        # The shadow of the houses on one side, with gaps between them.
        reach = palette.between(rng, -0.5, 1.0) * street.half_road
        sunny = x > reach if rng.random() < 0.5 else x < reach
        gaps = phase(z + 0.5 * x, palette.between(rng, 15, 50)) < palette.between(rng, 0.0, 0.4)
        shade = np.where(sunny | gaps, 1.0, palette.between(rng, 0.4, 0.75))
    rough = palette.between(rng, 0.03, 0.12)
    texture = 1 + rough * canvas.grain[rows] + palette.between(rng, 0.02, 0.15) * canvas.clumps[rows]
    canvas.colour[rows] = colour * (shade * texture)[:, :, None]
    canvas.label[rows] = np.where(road, ROAD, np.where(pavement, SIDEWALK, VEGETATION))
    # Level with the horizon the ground is endless; what stands there must still cover it.
    canvas.depth[rows] = np.minimum(z, 2000.0)


def paint_skyline(canvas: Canvas, camera: Camera, rng: Random, seed: int) -> None:
    """Woods or a town far away, so that the street does not end in the sky."""
    woods = rng.random() < 0.5
    colour = palette.leaf(rng) if woods else palette.wall(rng)
    distance, height = palette.between(rng, 150, 300), palette.between(rng, 6, 22)
    patch = camera.facing((-2000.0, 2000.0), (0.0, 2 * height), distance)
    if patch is None:
        return
    columns = patch.mask.shape[1]
    outline = fractal_noise(1, columns, max(columns / 12, 3.0), seed, 4)[0]
    if not woods:
        outline = np.round(outline * 5) / 5
    mask = patch.up < height * (1 + outline.astype(np.float64))[None, :]
    canvas.paint(patch, VEGETATION if woods else BUILDING, colour, mask=mask, texture=0.1, clumping=0.2 * woods)
