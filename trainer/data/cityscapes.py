"""Cityscapes: its folders, its 34 label ids and the 19 classes that are trained and judged."""

from __future__ import annotations

from pathlib import Path

from trainer.data.decode import IndexLabels
from trainer.data.errors import DataError
from trainer.data.files import Pair, PairedFiles
from trainer.data.layout import need_folder, need_split, wrong_folder
from trainer.data.sample import IGNORE

NAME = "cityscapes"
_TRAINED = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Label id → class. The ids in between are of things that the benchmark ignores: unlabeled, ego vehicle, parking, …"""
CLASSES = tuple(_TRAINED.values())
LABEL_IDS = 34
"""Label files hold 0 to 33; a licence plate's -1 is never written to one."""
TRAIN_IDS = {label_id: IGNORE for label_id in range(LABEL_IDS)} | {
    label_id: train_id for train_id, label_id in enumerate(_TRAINED)
}
"""Label id → class index, 255 where there is none."""

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


def open_cityscapes(root: Path | None, split: str) -> PairedFiles:
    """Images and fine labels of a split.

    Raises:
        DataError: no such split, another folder, or an image without its label.
    """
    root = need_folder(NAME, root)
    need_split(NAME, split)
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    if not images.is_dir() or not labels.is_dir():
        raise wrong_folder(NAME, root, f"leftImg8bit/{split}/ and gtFine/{split}/")
    pairs = []
    for image in sorted(images.glob(f"*/*{_IMAGE}")):
        label = labels / image.parent.name / (image.name.removesuffix(_IMAGE) + _LABEL)
        if not label.is_file():
            raise DataError(f"{NAME}: {image} has no label {label}")
        pairs.append(Pair(image, label))
    if not pairs:
        raise DataError(f"{NAME}: no images named CITY/*{_IMAGE} in {images}")
    return PairedFiles.of(NAME, CLASSES, pairs, IndexLabels.of(TRAIN_IDS, f"label ids 0 to {LABEL_IDS - 1}"))
