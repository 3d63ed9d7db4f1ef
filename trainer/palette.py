"""A colour for every class of any data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from trainer.data import bdd100k, camvid, cityscapes

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
VOID: Colour = (0, 0, 0)
"""Of pixels that have no class; never a class's."""
_WHITE: Colour = (255, 255, 255)

_CITYSCAPES: Mapping[str, Colour] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
"""As its benchmark's own scripts define them (cityscapesScripts, labels.py)."""


def _camvid() -> Mapping[str, Colour]:
    """Each class in the release's colour of its first member, which is what SegNet shows it in."""
    colours: dict[str, Colour] = {}
    for colour, index in camvid.COLOURS.items():
        if index < len(camvid.CLASSES):
            colours.setdefault(camvid.CLASSES[index], colour)
    return colours


_KNOWN: Mapping[str, Mapping[str, Colour]] = {
    cityscapes.NAME: _CITYSCAPES,
    bdd100k.NAME: _CITYSCAPES,
    camvid.NAME: _camvid(),
    # Its classes have Cityscapes' names.
    "synthetic": _CITYSCAPES,
}
_LEVELS = range(0, 256, 42)
"""Of each channel, of the colours that are drawn from: 343 of them, more than there can be classes."""


def class_colours(dataset: str | None, classes: Sequence[str]) -> tuple[Colour, ...]:
    """A colour for each class: the data set's own where it has some for all of them, else distinct ones.

    Args:
        dataset: by name; None or any other name for a data set that has no colours of its own.
        classes: the classes' names, in the order of their labels; 255 at most.

    Returns:
        As many colours, no two alike and none of them :data:`VOID`. The same classes always get the same.
    """
    own = _KNOWN.get(dataset or "", {})
    if all(name in own for name in classes):
        return tuple(own[name] for name in classes)
    return distinct_colours(len(classes))


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """Colours each of which is as far from the ones before, from black and from white as can be.

    Args:
        count: 255 at most.
    """
    candidates = np.array(list(product(_LEVELS, repeat=3)), dtype=np.int64)
    # Black is void, and white is the paper that a legend stands on.
    nearest = np.minimum(_distances(candidates, VOID), _distances(candidates, _WHITE))
    chosen: list[Colour] = []
    for _ in range(count):
        red, green, blue = (int(level) for level in candidates[nearest.argmax()])
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, _distances(candidates, chosen[-1]))
    return tuple(chosen)


def _distances(colours: npt.NDArray[np.int64], one: Colour) -> npt.NDArray[np.int64]:
    """How far colours look from one, squared: Riemersma's weighted RGB, in whole numbers, so equal everywhere."""
    red, green, blue = (colours - np.array(one)).T
    mean = (colours[:, 0] + one[0]) // 2
    return (512 + mean) * red * red // 256 + 4 * green * green + (767 - mean) * blue * blue // 256
