"""One street: what stands where."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import numpy.typing as npt

from trainer.data.hashing import generator, mix
from trainer.data.sample import IGNORE
from trainer.data.synthetic import built, movers, plants
from trainer.data.synthetic.backdrop import Street, paint_ground, paint_sky, paint_skyline
from trainer.data.synthetic.camera import Camera
from trainer.data.synthetic.canvas import Canvas
from trainer.data.synthetic.light import expose
from trainer.data.synthetic.palette import between, choose

Painter = Callable[[Canvas, Camera, Random, float, float], None]
FARTHEST = 90.0
"""Where the houses end, in metres."""


def draw(rows: int, columns: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The image, (rows, columns, 3), and the class of each of its pixels, (rows, columns), that ``seed`` stands for."""
    rng = generator(seed)
    camera = Camera(
        rows=rows,
        columns=columns,
        focal=max(columns, rows) * between(rng, 0.55, 0.95),
        horizon=rows * between(rng, 0.34, 0.52),
        height=between(rng, 1.2, 1.9),
        offset=between(rng, -0.3, 2.0),
        bend=between(rng, -0.004, 0.004) * choose(rng, 2),
    )
    street = Street(half_road=between(rng, 2.8, 6.0), pavement=between(rng, 1.5, 4.0))
    canvas = Canvas(rows, columns, seed)
    paint_sky(canvas, camera, rng, seed)
    paint_ground(canvas, camera, street, rng)
    paint_skyline(canvas, camera, rng, seed)
    # Each of these draws from a generator of its own: what changes one leaves the others as they are.
    for side in (-1.0, 1.0):
        _houses(canvas, camera, street, seed, side)
    _traffic(canvas, camera, street, seed)
    _furniture(canvas, camera, street, seed)
    _people(canvas, camera, street, seed)
    image = expose(canvas, generator(seed, 9), seed)
    if rng.random() < 0.4:
        _bonnet(image, canvas.label, between(rng, 0.03, 0.1), between(rng, 15, 120))
    return image, canvas.label


def _houses(canvas: Canvas, camera: Camera, street: Street, seed: int, side: float) -> None:
    """A row of houses with gaps, fences and gardens in it."""
    rng = generator(seed, 10, int(side))
    z, line = between(rng, -10, 6), side * (street.edge + between(rng, 0, 2))
    dense = between(rng, 0.4, 1.0)
    while z < FARTHEST:
        end = z + between(rng, 5, 22)
        if rng.random() < dense:
            built.paint_building(canvas, camera, rng, line + side * between(rng, 0, 2.5), (z, end))
        else:
            for _ in range(1 + choose(rng, 3)):
                plants.paint_tree(
                    canvas, camera, rng, line + side * between(rng, 0, 8), between(rng, max(z, 6), end + 6)
                )
        if rng.random() < 0.3:
            built.paint_fence(canvas, camera, rng, side * street.edge, (max(z, 1.5), end))
        z = end + between(rng, 0, 4) * choose(rng, 2)


def _traffic(canvas: Canvas, camera: Camera, street: Street, seed: int) -> None:
    """Cars parked at both kerbs, in the lanes, and now and then across the street."""
    rng = generator(seed, 11)
    for side in (-1.0, 1.0):
        z = between(rng, 3, 20)
        while z < 60 and rng.random() < 0.7:
            movers.paint_car(canvas, camera, rng, side * (street.half_road - 1.0), z, across=False)
            z += between(rng, 5.5, 16)
    for _ in range(choose(rng, 4)):
        lane = between(rng, 0.2, 0.6) * street.half_road * (1 if rng.random() < 0.5 else -1)
        movers.paint_car(canvas, camera, rng, lane, between(rng, 6, 50), across=False)
    if rng.random() < 0.35:
        where = between(rng, -1.2, 1.2) * street.half_road
        movers.paint_car(canvas, camera, rng, where, between(rng, 8, 30), across=True)


def _furniture(canvas: Canvas, camera: Camera, street: Street, seed: int) -> None:
    """Poles, signs, trees and bushes between carriageway and houses."""
    rng = generator(seed, 12)
    painters: tuple[Painter, ...] = (
        built.paint_pole,
        built.paint_pole,
        plants.paint_tree,
        plants.paint_bush,
    )
    for side in (-1.0, 1.0):
        for _ in range(3 + choose(rng, 6)):
            painter = painters[choose(rng, len(painters))]
            x = side * (street.half_road + between(rng, 0.2, 0.9) * street.pavement)
            # Even in what one sees of the street, rather than crowded at its end.
            painter(canvas, camera, rng, x, 4 / between(rng, 0.08, 0.9))


def _people(canvas: Canvas, camera: Camera, street: Street, seed: int) -> None:
    """On the pavements mostly; some cross."""
    rng = generator(seed, 13)
    for _ in range(2 + choose(rng, 8)):
        z = 4 / between(rng, 0.12, 0.9)
        if rng.random() < 0.75:
            x = street.half_road + between(rng, 0.15, 0.9) * street.pavement
            x = x if rng.random() < 0.5 else -x
        else:
            x = between(rng, -1, 1) * street.half_road
        for number in range(1 + choose(rng, 2)):
            movers.paint_person(canvas, camera, rng, x + 0.6 * number, z + 0.2 * number)


def _bonnet(image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], share: float, level: float) -> None:
    """The camera's own car at the bottom: no class, so its pixels are ignored."""
    rows, columns = label.shape
    down = ((rows - np.arange(rows) - 0.5) / (share * rows))[:, None]
    across = ((np.arange(columns) + 0.5) / columns * 2 - 1)[None, :]
    covered = down < 1 - across * across
    image[covered] = int(level)
    label[covered] = IGNORE


def scene_seed(seed: int, stream: int, index: int) -> int:
    """The seed of scene ``index`` of a split."""
    return mix(seed, stream, index)
