"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainer.data import bdd100k, camvid, cityscapes, folder
from trainer.data.dataset import SegmentationDataset, Transform
from trainer.data.errors import DataError
from trainer.data.sample import Size, Source
from trainer.data.synthetic.source import open_synthetic

Opener = Callable[[Path | None, str], Source]
"""From the folder, None where none is given, and the split to a source; raises DataError."""

OPENERS: dict[str, Opener] = {
    bdd100k.NAME: bdd100k.open_bdd100k,
    camvid.NAME: camvid.open_camvid,
    cityscapes.NAME: cityscapes.open_cityscapes,
    folder.NAME: folder.open_folder,
    "synthetic": open_synthetic,
}
"""The data sets there are. A further one is a further entry."""


def open_dataset(
    name: str,
    root: Path | str | None,
    split: str,
    transform: Transform | None = None,
    *,
    size: tuple[int, int] | None = None,
    count: int | None = None,
) -> SegmentationDataset:
    """A split of a data set.

    Args:
        name: one of :data:`OPENERS`.
        root: the folder that holds it; None for what is drawn.
        split: ``train``, ``val`` or ``test``, or what a folder's subfolders are called.
        transform: augmentation, for training; None for plain normalisation.
        size: height and width that samples are brought to before augmentation; their own by default.
        count: take only the first samples, or draw so many.

    Raises:
        DataError: no such data set or split, or a folder that is not laid out as expected: one line that says what was
            expected and what was found.
    """
    if name not in OPENERS:
        raise DataError(f"there is no data set {name!r}: there are {', '.join(sorted(OPENERS))}")
    source = OPENERS[name](None if root is None else Path(root), split)
    if size is not None:
        if min(size) < 1:
            raise DataError(f"a size of {size[0]}x{size[1]} is empty")
        source = source.resized(Size(*size))
    if count is not None:
        source = source.limited(count)
    return SegmentationDataset(source, transform)
