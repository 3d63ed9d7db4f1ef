"""CamVid: the original release with its 32 colours, and the split folders that SegNet made of it."""

from __future__ import annotations

from pathlib import Path

from trainer.data.decode import ColourLabels, IndexLabels
from trainer.data.errors import DataError
from trainer.data.files import Pair, PairedFiles
from trainer.data.layout import need_folder, need_split, pair_by_stem, wrong_folder
from trainer.data.sample import IGNORE

NAME = "camvid"
_VOID = "void"
_COLOURS = {
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Building": (128, 0, 0),
        "Wall": (64, 192, 0),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Archway": (192, 0, 128),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
    _VOID: {"Void": (0, 0, 0)},
}
"""Class → the release's own classes in it and their colours. The order is that of SegNet's indices."""
CLASSES = tuple(name for name in _COLOURS if name != _VOID)
COLOURS: dict[tuple[int, int, int], int] = {
    colour: IGNORE if name == _VOID else index
    for index, (name, members) in enumerate(_COLOURS.items())
    for colour in members.values()
}
"""Label colour → class index, 255 for void."""

_IMAGES, _LABELS = "701_StillsRaw_full", "LabeledApproved_full"


def open_camvid(root: Path | None, split: str) -> PairedFiles:
    """Images and labels of a split, from either layout.

    Raises:
        DataError: no such split, another folder, no list of the split's images, or images and labels that do not match.
    """
    root = need_folder(NAME, root)
    need_split(NAME, split)
    if (root / _IMAGES).is_dir() and (root / _LABELS).is_dir():
        return PairedFiles.of(NAME, CLASSES, _listed_pairs(root, split), ColourLabels.of(COLOURS))
    images, labels = root / split, root / f"{split}annot"
    if not images.is_dir() or not labels.is_dir():
        raise wrong_folder(NAME, root, f"{split}/ and {split}annot/, or {_IMAGES}/ and {_LABELS}/")
    void = len(CLASSES)
    known = {index: index for index in range(void)} | {void: IGNORE}
    return PairedFiles.of(
        NAME, CLASSES, pair_by_stem(NAME, images, labels), IndexLabels.of(known, f"class indices 0 to {void}")
    )


def _listed_pairs(root: Path, split: str) -> list[Pair]:
    """The release does not say which of its images are for training: a list has to."""
    path = root / f"{split}.txt"
    if not path.is_file():
        raise DataError(
            f"{NAME}: {path} is not there: the release has no splits, so each needs a text file with a name per line"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{NAME}: {path} is not a text file in UTF-8") from None
    # Lists that go around have paths in them, and some an image and a label per line.
    stems = [Path(line.split()[0]).stem for line in lines if line.strip()]
    if not stems:
        raise DataError(f"{NAME}: {path} names no image")
    pairs = [Pair(root / _IMAGES / f"{stem}.png", root / _LABELS / f"{stem}_L.png") for stem in stems]
    for pair in pairs:
        for file in (pair.image, pair.label):
            if not file.is_file():
                raise DataError(f"{NAME}: {path} names {pair.image.stem}, but {file} is not there")
    return pairs
