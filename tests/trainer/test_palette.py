"""A colour for every class: the data set's own, or distinct ones."""

from __future__ import annotations

import pytest

from trainer.data import camvid, cityscapes
from trainer.data.synthetic.labels import CLASSES as SYNTHETIC
from trainer.palette import VOID, class_colours, distinct_colours


def test_cityscapes_classes_have_the_colours_of_its_benchmark() -> None:
    colours = dict(zip(cityscapes.CLASSES, class_colours("cityscapes", cityscapes.CLASSES), strict=True))
    assert (colours["road"], colours["bicycle"]) == ((128, 64, 128), (119, 11, 32))
    assert class_colours("bdd100k", cityscapes.CLASSES) == tuple(colours.values())
    assert class_colours("synthetic", SYNTHETIC) == tuple(colours[name] for name in SYNTHETIC)


def test_camvid_classes_have_the_colours_of_its_labels() -> None:
    colours = class_colours("camvid", camvid.CLASSES)
    for index, colour in enumerate(colours):
        assert camvid.COLOURS[colour] == index
    assert colours[:2] == ((128, 128, 128), (128, 0, 0))


@pytest.mark.parametrize(("dataset", "classes"), [("cityscapes", cityscapes.CLASSES), ("camvid", camvid.CLASSES)])
def test_no_two_classes_of_a_data_set_share_a_colour(dataset: str, classes: tuple[str, ...]) -> None:
    colours = class_colours(dataset, classes)
    assert len({*colours, VOID}) == len(classes) + 1


@pytest.mark.parametrize("count", [1, 2, 19, 255])
def test_other_classes_have_distinct_colours_none_of_them_void(count: int) -> None:
    colours = class_colours("folder", [f"class {index}" for index in range(count)])
    assert len({*colours, VOID}) == count + 1
    assert all(0 <= level <= 255 for colour in colours for level in colour)


def test_a_name_that_the_data_set_does_not_know_makes_all_colours_new() -> None:
    assert class_colours("cityscapes", ("road", "river")) == distinct_colours(2)


def test_few_colours_are_far_apart() -> None:
    colours = (*distinct_colours(10), VOID)
    for index, one in enumerate(colours):
        for other in colours[index + 1 :]:
            assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 70, (one, other)


def test_more_classes_only_add_colours() -> None:
    assert distinct_colours(30)[:12] == distinct_colours(12)
