"""Finding the files of a data set, and saying in one line what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainer.data.errors import DataError
from trainer.data.files import Pair

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SPLITS = ("train", "val", "test")


def need_folder(name: str, root: Path | None) -> Path:
    """``root``, which exists and is a folder.

    Raises:
        DataError: it is not, or none is given.
    """
    if root is None:
        raise DataError(f"{name} needs the folder that holds it")
    if not root.is_dir():
        raise DataError(f"{name}: {root} is {'not a folder' if root.exists() else 'not there'}")
    return root


def need_split(name: str, split: str, splits: tuple[str, ...] = SPLITS) -> None:
    """Check the split's name.

    Raises:
        DataError: the data set has no such split.
    """
    if split not in splits:
        raise DataError(f"{name} has no split {split!r}: it has {', '.join(splits)}")


def wrong_folder(name: str, root: Path, expected: str) -> DataError:
    """The error for a folder that is not laid out as expected; says what is in it."""
    entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in root.iterdir())
    found = ", ".join(entries[:6]) + (", …" if len(entries) > 6 else "") if entries else "nothing"
    return DataError(f"{name}: expected {expected} in {root}, found {found}")


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def pair_by_stem(
    name: str, images: Path, labels: Path, label_stem: Callable[[str], str] = lambda stem: stem
) -> list[Pair]:
    """Each image of one folder with the label of the same stem in the other.

    Args:
        name: the data set's name, for messages.
        images: the folder of images.
        labels: the folder of labels.
        label_stem: from a label file's stem to its image's.

    Raises:
        DataError: no images, two files with one stem, or an image or a label without the other.
    """
    by_stem = _by_stem(name, labels, label_stem)
    pictures = _by_stem(name, images, lambda stem: stem)
    if not pictures:
        raise DataError(f"{name}: no images ({', '.join(IMAGE_SUFFIXES)}) in {images}")
    _complain(name, [path for stem, path in pictures.items() if stem not in by_stem], "label", labels)
    _complain(name, [path for stem, path in by_stem.items() if stem not in pictures], "image", images)
    return [Pair(path, by_stem[stem]) for stem, path in pictures.items()]


def _by_stem(name: str, folder: Path, stem_of: Callable[[str], str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in image_files(folder):
        other = found.setdefault(stem_of(path.stem), path)
        if other != path:
            raise DataError(f"{name}: {other.name} and {path.name} in {folder} are for the same image")
    return found


def _complain(name: str, lonely: list[Path], missing: str, folder: Path) -> None:
    if lonely:
        others = f", nor have {len(lonely) - 1} others" if len(lonely) > 1 else ""
        raise DataError(f"{name}: {lonely[0]} has no {missing} in {folder}{others}")
