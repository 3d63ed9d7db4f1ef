"""Which images of a data set are shown, and what they are called."""

from __future__ import annotations

from trainer.data.dataset import SegmentationDataset
from trainer.data.errors import DataError
from trainer.data.files import PairedFiles

SHOWN = 3
"""Names that a message gives as examples."""


def image_names(dataset: SegmentationDataset) -> list[str]:
    """A name for every image: its file's without the ending; its number where it comes from no file."""
    source = dataset.source
    indices = range(len(source)) if dataset.indices is None else dataset.indices
    if isinstance(source, PairedFiles):
        return [source.pairs[index].image.stem for index in indices]
    return [str(index) for index in indices]


def choose_images(dataset: SegmentationDataset, wanted: int | list[str]) -> list[int]:
    """Indices of the images that are meant.

    Args:
        dataset: where they are from.
        wanted: how many, evenly spread over the data set, for neighbours are often much alike; or their names, of which
            a beginning will do where only one image's name begins so.

    Raises:
        DataError: there are not so many, or a name stands for none or for several; the message says which.
    """
    names = image_names(dataset)
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(names):
            raise DataError(f"{dataset.name} has {len(names)} images in this split; {wanted} were asked for")
        return [(2 * index + 1) * len(names) // (2 * wanted) for index in range(wanted)]
    return [_find(dataset.name, names, name) for name in wanted]


def _find(dataset: str, names: list[str], name: str) -> int:
    if name in names:
        return names.index(name)
    found = [index for index, known in enumerate(names) if name and known.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{dataset} has no image {name!r} in this split; it has {_few(names)}")
    raise DataError(f"{name!r} is the beginning of {len(found)} names: {_few([names[index] for index in found])}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
