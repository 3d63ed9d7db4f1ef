"""What moves in a street. Each function paints one thing; positions and sizes are in metres."""

from __future__ import annotations

from random import Random

import numpy as np

from trainer.data.synthetic import palette
from trainer.data.synthetic.camera import Camera, Patch
from trainer.data.synthetic.canvas import Canvas
from trainer.data.synthetic.labels import CAR, PERSON
from trainer.data.synthetic.patterns import ellipse


def paint_person(canvas: Canvas, camera: Camera, rng: Random, x: float, z: float) -> None:
    """Someone standing or walking: legs, trunk, arms, head."""
    height = palette.between(rng, 1.45, 1.95) if rng.random() < 0.85 else palette.between(rng, 0.9, 1.4)
    girth, stride = height * palette.between(rng, 0.1, 0.15), palette.between(rng, 0.02, 0.16)
    skin_level = palette.between(rng, 70, 210)
    skin = (skin_level, skin_level * 0.8, skin_level * 0.68)
    top, trousers, hair = palette.cloth(rng), palette.cloth(rng), palette.stone(rng)
    waist, neck = 0.48 * height, 0.83 * height
    patch = camera.facing((x - 2 * girth, x + 2 * girth), (0.0, height), z)
    _shadow(canvas, camera, x, girth, z)
    if patch is None:
        return
    spread = stride + 0.05
    swing = spread * (1 - patch.up / waist)
    legs = (np.abs(np.abs(patch.along - x) - swing) < 0.45 * girth) & (patch.up < waist + 0.05)
    trunk = ellipse(patch, x, (waist + neck) / 2, girth * 1.15, (neck - waist) / 1.8) < 1
    lean = np.abs(np.abs(patch.along - x) - girth * (1.25 + stride * 2 * (neck - patch.up)))
    arms = (lean < 0.25 * girth) & (patch.up > 0.45 * height) & (patch.up < neck - 0.04)
    head = ellipse(patch, x, 0.92 * height, 0.065 * height, 0.085 * height) < 1
    canvas.paint(patch, PERSON, trousers, mask=legs, texture=0.08, clumping=0.1)
    canvas.paint(patch, PERSON, top, mask=trunk | arms, texture=0.08, clumping=0.15)
    canvas.paint(patch, PERSON, skin, mask=head)
    canvas.paint(patch, PERSON, hair, mask=head & (patch.up > 0.93 * height))


def paint_car(canvas: Canvas, camera: Camera, rng: Random, x: float, z: float, *, across: bool) -> None:
    """A car with its middle at X and its near end at Z; ``across`` the street or along it."""
    length, width = palette.between(rng, 3.6, 4.9), palette.between(rng, 1.65, 1.95)
    roof = palette.between(rng, 1.35, 1.95)
    waist = roof * palette.between(rng, 0.55, 0.65)
    colour = palette.cloth(rng)
    glass = palette.sky(rng)[1] if rng.random() < 0.4 else palette.stone(rng)
    wide, deep = (length, width) if across else (width, length)
    lit, dim = palette.between(rng, 0.85, 1.1), palette.between(rng, 0.55, 0.95)
    left, right = x - wide / 2, x + wide / 2
    _shadow(canvas, camera, x, wide / 2, z, deep)

    # The flank that the camera sees is the one on its side of the car.
    flank = left if camera.column(left, z) > camera.columns / 2 else right
    side = camera.lengthwise(flank, (0.15, waist), (z, z + deep))
    canvas.paint(side, CAR, colour, shade=dim, texture=0.03)
    cabin_inset = flank + 0.12 * (1 if flank == left else -1)
    cabin = camera.lengthwise(cabin_inset, (waist, roof), (z + 0.12 * deep, z + 0.8 * deep))
    canvas.paint(cabin, CAR, glass, shade=0.6, texture=0.03)
    front = camera.facing((left, right), (0.15, waist), z)
    canvas.paint(front, CAR, colour, shade=lit, texture=0.03)
    window = camera.facing((left, right), (waist, roof), z + 0.1 * deep)
    if window is not None:
        slope = (0.22 if across else 0.08) * wide * (window.up - waist) / (roof - waist) + 0.08
        inside = np.abs(window.along - x) < wide / 2 - slope
        canvas.paint(window, CAR, colour, mask=inside, shade=lit)
        pane = (np.abs(window.along - x) < wide / 2 - slope - 0.1) & (window.up < roof - 0.1)
        canvas.paint(window, CAR, glass, mask=pane, shade=0.65)
    if front is not None and not across:
        lamps = (np.abs(np.abs(front.along - x) - 0.38 * wide) < 0.13) & (np.abs(front.up - 0.75 * waist) < 0.09)
        canvas.paint(front, CAR, (190.0, palette.between(rng, 10, 190), 30.0), mask=lamps)
    if across:
        for middle in (x - 0.3 * wide, x + 0.3 * wide):
            _wheel(canvas, camera.facing((middle - 0.33, middle + 0.33), (0.0, 0.66), z - 0.02), middle)
    else:
        for middle in (z + 0.2 * deep, z + 0.8 * deep):
            _wheel(canvas, camera.lengthwise(flank, (0.0, 0.66), (middle - 0.33, middle + 0.33)), middle)
        for middle in (x - 0.4 * wide, x + 0.4 * wide):
            canvas.paint(camera.facing((middle - 0.1, middle + 0.1), (0.0, 0.3), z), CAR, (30.0, 30.0, 32.0))


def _wheel(canvas: Canvas, patch: Patch | None, middle: float) -> None:
    if patch is not None:
        tyre = ellipse(patch, middle, 0.33, 0.33, 0.33)
        canvas.paint(patch, CAR, (32.0, 32.0, 34.0), mask=tyre < 1)
        canvas.paint(patch, CAR, (120.0, 120.0, 125.0), mask=tyre < 0.3)


def _shadow(canvas: Canvas, camera: Camera, x: float, radius: float, z: float, deep: float = 0.3) -> None:
    """Darken the ground around a thing's foot; the ground keeps its class."""
    rows, across, ahead = camera.ground
    near, far = z - 0.3, z + deep + 0.3
    picked = np.flatnonzero((ahead[:, 0] > near) & (ahead[:, 0] < far))
    if not picked.size:
        return
    band = slice(rows.start + int(picked[0]), rows.start + int(picked[-1]) + 1)
    part = slice(int(picked[0]), int(picked[-1]) + 1)
    dark = (np.abs(across[part] - x) < radius * 1.15) & (canvas.depth[band] >= ahead[part] * (1 - 1e-6))
    canvas.colour[band][dark] *= np.float32(0.5)
