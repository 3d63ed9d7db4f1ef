"""BDD100K's semantic segmentation, in the layout of its releases and in the older one. Classes are Cityscapes'."""

from __future__ import annotations

from pathlib import Path

from trainer.data.cityscapes import CLASSES
from trainer.data.decode import IndexLabels
from trainer.data.files import PairedFiles
from trainer.data.layout import need_folder, need_split, pair_by_stem, wrong_folder
from trainer.data.sample import IGNORE

NAME = "bdd100k"
_LAYOUTS = (("images/10k", "labels/sem_seg/masks"), ("seg/images", "seg/labels"))
_OLD_ENDING = "_train_id"


def open_bdd100k(root: Path | None, split: str) -> PairedFiles:
    """Images and labels of a split; the labels of test were never published.

    Raises:
        DataError: no such split, another folder, or images and labels that do not match.
    """
    root = need_folder(NAME, root)
    need_split(NAME, split, ("train", "val"))
    for layout in _LAYOUTS:
        images, labels = (root / part / split for part in layout)
        if images.is_dir() and labels.is_dir():
            known = {index: index for index in range(len(CLASSES))} | {IGNORE: IGNORE}
            return PairedFiles.of(
                NAME,
                CLASSES,
                pair_by_stem(NAME, images, labels, lambda stem: stem.removesuffix(_OLD_ENDING)),
                IndexLabels.of(known, f"train ids 0 to {len(CLASSES) - 1} and {IGNORE}"),
            )
    expected = " or ".join(f"{images}/{split}/ and {labels}/{split}/" for images, labels in _LAYOUTS)
    raise wrong_folder(NAME, root, expected)
