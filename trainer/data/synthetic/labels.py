"""The classes of the drawn streets. Their names are those of Cityscapes."""

from __future__ import annotations

CLASSES = (
    "road",
    "sidewalk",
    "building",
    "fence",
    "pole",
    "traffic sign",
    "vegetation",
    "sky",
    "person",
    "car",
)
ROAD, SIDEWALK, BUILDING, FENCE, POLE, SIGN, VEGETATION, SKY, PERSON, CAR = range(len(CLASSES))
