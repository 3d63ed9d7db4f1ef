"""Drawn streets are the same everywhere, hold every class, and are not given away by their colours."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from trainer.data import IGNORE, DataError, Size, class_frequencies, open_dataset
from trainer.data.hashing import generator, mix, permutation, uniform_field
from trainer.data.synthetic.labels import CLASSES
from trainer.data.synthetic.source import SyntheticStreets

SMALL = Size(96, 192)


def streets(split: str, count: int, seed: int = 0) -> SyntheticStreets:
    return SyntheticStreets(split, count, SMALL, seed)


def arrays(source: SyntheticStreets, index: int) -> tuple[np.ndarray, np.ndarray]:
    image, label = source.read(index)
    return np.asarray(image), np.asarray(label)


def test_the_numbers_behind_it_are_fixed() -> None:
    assert mix(1, 2, 3) == 74078413316773926
    assert generator(7).random() == 0.968253628727456
    assert (uniform_field((2, 2), 5) * 2**24).tolist() == [[10507902, 10178665], [13235094, 11618950]]
    assert permutation(6, 1, 2).tolist() == [0, 3, 5, 4, 1, 2]


def test_a_scene_is_the_same_on_every_machine() -> None:
    image, label = arrays(streets("train", 5), 3)
    assert zlib.crc32(label.tobytes()) == 4230429294
    assert zlib.crc32(image.tobytes()) == 3535488672


def test_seed_split_and_index_make_a_scene() -> None:
    one = arrays(streets("train", 5), 1)[0].tobytes()
    assert arrays(streets("train", 2), 1)[0].tobytes() == one
    others = [streets("train", 5).read(2), streets("val", 5).read(1), streets("train", 5, seed=1).read(1)]
    assert all(other.image.tobytes() != one for other in others)


def test_every_class_is_there_and_none_is_nearly_all() -> None:
    shares = class_frequencies(open_dataset("synthetic", None, "train", size=SMALL, count=30))
    assert len(CLASSES) == len(shares) >= 8
    assert shares.min() > 0.002 and shares.max() < 0.5


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (200, 64), (180, 321)], ids=str)
def test_any_size_will_do(size: tuple[int, int]) -> None:
    dataset = open_dataset("synthetic", None, "val", size=size, count=6)
    assert dataset.size == size
    for index in range(6):
        image, label = dataset[index]
        assert tuple(image.shape[1:]) == tuple(label.shape) == size
        assert set(label.unique().tolist()) <= {*range(len(CLASSES)), IGNORE}


def test_it_has_no_other_split_and_no_tiny_image() -> None:
    for arguments in (("all", 1, SMALL), ("train", 0, SMALL), ("train", 1, Size(16, 64))):
        with pytest.raises(DataError):
            SyntheticStreets(*arguments)


def test_colour_and_place_do_not_solve_it() -> None:
    """The best class for each colour, and for each colour in each of 8×8 parts of the image, as training has it."""
    by_colour, by_both = _lookup_iou(levels=12, parts=1), _lookup_iou(levels=8, parts=8)
    assert by_colour < 0.25, by_colour
    assert by_both < 0.35, by_both


def _lookup_iou(levels: int, parts: int) -> float:
    """Mean intersection over union of a table from quantised colour and place to the most frequent class."""
    count = len(CLASSES)
    rows, columns = np.mgrid[: SMALL.height, : SMALL.width]
    place = (rows * parts // SMALL.height) * parts + columns * parts // SMALL.width

    def keys(image: np.ndarray) -> np.ndarray:
        red, green, blue = np.moveaxis(image.astype(np.int64) * levels // 256, 2, 0)
        return ((red * levels + green) * levels + blue) * parts * parts + place

    table = np.zeros(levels**3 * parts * parts * count, dtype=np.int64)
    for index in range(40):
        image, label = arrays(streets("train", 40), index)
        known = label != IGNORE
        table += np.bincount(keys(image)[known] * count + label[known], minlength=table.size)
    best = table.reshape(-1, count).argmax(axis=1)
    confusion = np.zeros(count * count, dtype=np.int64)
    for index in range(15):
        image, label = arrays(streets("val", 15), index)
        known = label != IGNORE
        confusion += np.bincount(label[known].astype(np.int64) * count + best[keys(image)][known], minlength=count**2)
    matrix = confusion.reshape(count, count)
    hit = np.diag(matrix)
    return float(np.mean(hit / np.maximum(matrix.sum(0) + matrix.sum(1) - hit, 1)))
