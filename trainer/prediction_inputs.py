"""The images and videos that a user means, and what their results may be called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latency_db.errors import InputError
from trainer.image_files import IMAGE_SUFFIXES
from trainer.video import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Picture:
    """An image or a video to look at.

    Attributes:
        path: the file.
        below: its path below the folder that was named, which its results keep.
    """

    path: Path
    below: Path


@dataclass(frozen=True)
class Inputs:
    """What was named, sorted."""

    images: tuple[Picture, ...]
    videos: tuple[Picture, ...]


def find_inputs(named: Iterable[Path | str]) -> Inputs:
    """The images and videos that are meant: files, and all images in and below folders, by name.

    Raises:
        InputError: there is no such file, it is neither image nor video, or a folder holds no image.
    """
    images: list[Picture] = []
    videos: list[Picture] = []
    for path in map(Path, named):
        if path.is_dir():
            found = [Picture(one, one.relative_to(path)) for one in sorted(path.rglob("*")) if _is_image(one)]
            if not found:
                raise InputError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
            images.extend(found)
        elif not path.exists():
            raise InputError(f"there is no file {path}")
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(Picture(path, Path(path.name)))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(Picture(path, Path(path.name)))
        else:
            known = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
            raise InputError(f"{path} is neither an image nor a video by its name ({known})")
    return Inputs(tuple(images), tuple(videos))


def require_apart(named: Iterable[Path | str], out: Path) -> None:
    """See that no result lies in a folder of images, where the next run would take it for one.

    Raises:
        InputError: one would.
    """
    place = out.resolve()
    for path in map(Path, named):
        if path.is_dir() and place.is_relative_to(path.resolve()):
            raise InputError(f"{out} lies in {path}, whose images are looked at: name an --out elsewhere")


def require_distinct(results: Mapping[Picture, Sequence[Path]]) -> None:
    """See that no file is the result of two pictures.

    Args:
        results: the files of each.

    Raises:
        InputError: one is.
    """
    owners: dict[Path, Picture] = {}
    for picture, paths in results.items():
        for path in paths:
            other = owners.setdefault(path, picture)
            if other != picture:
                raise InputError(
                    f"{other.path} and {picture.path} would both become {path}: look at them one after the other, "
                    "each with an --out of its own"
                )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
