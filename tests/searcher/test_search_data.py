"""The three parts of a search's images, and images that are too small for its norms."""

from __future__ import annotations

import pytest

from searcher.config import DataConfig, ScheduleConfig
from searcher.search_data import open_search_data, three_parts
from trainer.data import DataError, SegmentationDataset, open_dataset
from trainer.runs.processes import Processes


def images(dataset: SegmentationDataset) -> set[int]:
    """The places that they have in the source."""
    return set(dataset.indices or range(len(dataset)))


@pytest.mark.parametrize(("count", "holdout", "seed"), [(3, 0.1, 0), (40, 0.1, 0), (41, 0.25, 7)])
def test_no_image_is_in_two_parts(count: int, holdout: float, seed: int) -> None:
    whole = open_dataset("synthetic", None, "train", size=(64, 128), count=count)
    weights, architecture, validation = (images(part) for part in three_parts(whole, holdout, seed))
    assert not weights & architecture and not weights & validation and not architecture & validation
    assert len(weights) == len(architecture)
    assert len(validation) == max(round(holdout * count), 1)
    # An odd one may be left over, no more.
    assert count - len(weights | architecture | validation) in (0, 1)


def test_another_seed_splits_otherwise() -> None:
    whole = open_dataset("synthetic", None, "train", size=(64, 128), count=40)
    assert images(three_parts(whole, 0.1, 0)[0]) != images(three_parts(whole, 0.1, 1)[0])


def test_the_batches_are_of_the_parts() -> None:
    data = DataConfig(size=(64, 128), crop=(64, 64), count=12, holdout=0.25, workers=0)
    found = open_search_data(data, ScheduleConfig(batch_size=2), 0, Processes())
    parts = [images(one.dataset) for one in (found.weights, found.architecture, found.validation)]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_images_that_leave_norms_one_value_are_refused_before_the_search() -> None:
    data = DataConfig(size=(64, 64), crop=(64, 64), count=12, workers=0)
    with pytest.raises(DataError, match="images of 64x64 leave one value"):
        open_search_data(data, ScheduleConfig(batch_size=4), 0, Processes())
