"""What is built along a street. Each function paints one thing; positions and sizes are in metres."""

from __future__ import annotations

from random import Random

import numpy as np

from trainer.data.synthetic import palette
from trainer.data.synthetic.camera import Camera
from trainer.data.synthetic.canvas import Canvas
from trainer.data.synthetic.labels import BUILDING, FENCE, POLE, SIGN
from trainer.data.synthetic.patterns import phase


def paint_building(canvas: Canvas, camera: Camera, rng: Random, x: float, z: tuple[float, float]) -> None:
    """A house whose front stands along the street at X, from Z to Z."""
    height, colour = palette.between(rng, 4, 26), palette.wall(rng)
    outward = 12.0 if x > 0 else -12.0
    storey, bay = palette.between(rng, 2.6, 4.0), palette.between(rng, 1.6, 4.0)
    pane = palette.between(rng, 0.35, 0.75)
    glass = palette.sky(rng)[1] if rng.random() < 0.6 else palette.stone(rng)
    glare = palette.between(rng, 0.3, 0.9)
    front_light, side_light = palette.between(rng, 0.65, 1.1), palette.between(rng, 0.65, 1.1)
    front = camera.lengthwise(x, (0.0, height), z)
    side = camera.facing((min(x, x + outward), max(x, x + outward)), (0.0, height), z[0])
    rough, plaster, has_panes = palette.between(rng, 0.02, 0.1), palette.between(rng, 0.0, 0.15), rng.random() < 0.85
    for patch, light in ((front, front_light), (side, side_light)):
        if patch is None:
            continue
        canvas.paint(patch, BUILDING, colour, shade=light, texture=rough, clumping=plaster)
        if has_panes:
            panes = (phase(patch.along, bay) < pane) & (phase(patch.up - 0.9, storey) < 0.5) & (patch.up > 0.9)
            canvas.paint(patch, BUILDING, glass, mask=panes, shade=light * glare, texture=0.03)


def paint_fence(canvas: Canvas, camera: Camera, rng: Random, x: float, z: tuple[float, float]) -> None:
    """A fence along the street; the background shows between its bars."""
    height = palette.between(rng, 0.8, 1.8)
    pitch, fill = palette.between(rng, 0.12, 0.5), palette.between(rng, 0.3, 1.2)
    colour = palette.wall(rng)
    patch = camera.lengthwise(x, (0.0, height), z)
    if patch is None:
        return
    rails = (patch.up > height - 0.12) | (np.abs(patch.up - 0.25) < 0.06)
    canvas.paint(patch, FENCE, colour, mask=(phase(patch.along, pitch) < fill) | rails, texture=0.1)


def paint_pole(canvas: Canvas, camera: Camera, rng: Random, x: float, z: float) -> None:
    """A lamp post, or a post with one or two signs."""
    lamp = rng.random() < 0.45
    height = palette.between(rng, 5, 9) if lamp else palette.between(rng, 2.3, 3.8)
    thick, colour = palette.between(rng, 0.05, 0.13), palette.stone(rng)
    canvas.paint(camera.facing((x - thick, x + thick), (0.0, height), z, thinnest=1.0), POLE, colour, texture=0.05)
    if lamp:
        reach = -1.6 if x > 0 else 1.6
        arm = (min(x, x + reach), max(x, x + reach))
        canvas.paint(camera.facing(arm, (height - 0.12, height), z), POLE, colour)
        return
    signs = 2 if rng.random() < 0.35 else 1
    for number in range(signs):
        _paint_sign(canvas, camera, rng, x, height - 0.8 * number, z)


def _paint_sign(canvas: Canvas, camera: Camera, rng: Random, x: float, top: float, z: float) -> None:
    """A round, triangular or rectangular sign with a border, slightly nearer than its post."""
    radius, shape = palette.between(rng, 0.28, 0.5), palette.choose(rng, 3)
    face, border = palette.paint(rng), palette.paint(rng)
    patch = camera.facing((x - radius, x + radius), (top - 2 * radius, top), z - 0.1, thinnest=2.0)
    if patch is None:
        return
    across, up = np.abs(patch.along - x) / radius, (patch.up - (top - radius)) / radius
    if shape == 0:
        distance = across * across + up * up
    elif shape == 1:
        distance = np.maximum(2 * across + up, -up)
    else:
        distance = np.maximum(across, np.abs(up))
    canvas.paint(patch, SIGN, border, mask=distance < 1, texture=0.02)
    canvas.paint(patch, SIGN, face, mask=distance < 0.6, texture=0.02)
