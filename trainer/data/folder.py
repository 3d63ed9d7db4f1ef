"""Any folder of images and masks, with a list of classes."""

from __future__ import annotations

from pathlib import Path

from trainer.data.decode import IndexLabels
from trainer.data.errors import DataError
from trainer.data.files import PairedFiles
from trainer.data.layout import need_folder, pair_by_stem, wrong_folder
from trainer.data.sample import IGNORE

NAME = "folder"
ALL = "all"
"""The split that is everything, where there are no subfolders."""


def open_folder(root: Path | None, split: str) -> PairedFiles:
    """``images/`` and ``masks/``, with a subfolder for each split or without any.

    Raises:
        DataError: no such split, another folder, a list of classes that is none, or images and masks that do not match.
    """
    root = need_folder(NAME, root)
    images, masks, listed = root / "images", root / "masks", root / "classes.txt"
    if not images.is_dir() or not masks.is_dir() or not listed.is_file():
        raise wrong_folder(NAME, root, "images/, masks/ and classes.txt")
    classes = _read_classes(listed)
    splits = sorted(entry.name for entry in images.iterdir() if entry.is_dir())
    if splits and split not in splits:
        raise DataError(f"{NAME}: {images} has no split {split!r}: it has {', '.join(splits)}")
    if not splits and split != ALL:
        # The same images for training and for judging would look like a triumph.
        raise DataError(f"{NAME}: {images} has no subfolder {split}/; without subfolders the only split is {ALL!r}")
    if splits:
        images, masks = images / split, masks / split
    if not masks.is_dir():
        raise DataError(f"{NAME}: {images} is there, but {masks} is not")
    known = {index: index for index in range(len(classes))} | {IGNORE: IGNORE}
    means = f"class indices 0 to {len(classes) - 1} and {IGNORE}"
    return PairedFiles.of(NAME, classes, pair_by_stem(NAME, images, masks), IndexLabels.of(known, means))


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        classes = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise DataError(f"{NAME}: {path} is not a text file in UTF-8") from None
    if not classes:
        raise DataError(f"{NAME}: {path} names no class: one a line, the first is that of label 0")
    if len(classes) > IGNORE:
        raise DataError(f"{NAME}: {path} names {len(classes)} classes; a mask has room for {IGNORE}")
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise DataError(f"{NAME}: {path} names {twice[0]!r} twice")
    return classes
