"""The images of a search: one half for the weights, one for the architecture, some that neither sees."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from searcher.config import DataConfig, ScheduleConfig
from trainer.data import Augment, Batch, Loader, SegmentationDataset, Size, loader, open_dataset, split_in_halves
from trainer.data.errors import DataError
from trainer.data.hashing import permutation
from trainer.runs.processes import Processes

SMALLEST = 64
"""The coarsest scale is 1/32, and zoomed operators work at half of it."""


@dataclass(frozen=True)
class SearchData:
    """Batches without end, and those to judge on.

    Attributes:
        dataset: all of the images, as they are.
        weights: augmented batches of the half for the weights.
        architecture: of the half for the architecture.
        validation: every image that is in neither half, as it is.
    """

    dataset: SegmentationDataset
    weights: Loader
    architecture: Loader
    validation: Loader
    _plain: Loader

    def calibration(self, batches: int) -> Iterable[Batch]:
        """The first batches of the half for the weights, as they are: for norms, the same each time."""
        return islice(self._plain, batches)


def three_parts(
    dataset: SegmentationDataset, holdout: float, seed: int
) -> tuple[SegmentationDataset, SegmentationDataset, SegmentationDataset]:
    """(for the weights, for the architecture, for validation): no image is in two of them.

    Args:
        dataset: the images.
        holdout: share of them for validation; at least one.
        seed: decides which.

    Raises:
        DataError: too few images.
    """
    if len(dataset) < 3:
        raise DataError(f"{dataset.name}: {len(dataset)} images are too few to search on: three parts are needed")
    order = permutation(len(dataset), seed).tolist()
    judged = max(round(holdout * len(dataset)), 1)
    weights, architecture = split_in_halves(dataset.subset(sorted(order[judged:])), seed)
    return weights, architecture, dataset.subset(sorted(order[:judged]))


def open_search_data(
    data: DataConfig, schedule: ScheduleConfig, seed: int, processes: Processes, *, pin_memory: bool = False
) -> SearchData:
    """The three parts as batches.

    Raises:
        DataError: the data set is not what it should be; the message says where.
    """
    _check_crop(data, schedule)
    dataset = open_dataset(data.dataset, data.folder, data.split, size=data.size, count=data.count)
    weights, architecture, validation = three_parts(dataset, data.holdout, seed)
    augment = Augment(crop=Size(*data.crop), scale=data.scale)
    shard = (processes.rank, processes.count)

    def training(part: SegmentationDataset, its_seed: int) -> Loader:
        return loader(
            part.with_transform(augment),
            schedule.batch_size,
            seed=its_seed,
            workers=data.workers,
            pin_memory=pin_memory,
            shard=shard,
        )

    # Images of one size fill a batch; of others, each is its own.
    batch_size = schedule.batch_size if data.size is not None else 1
    return SearchData(
        dataset,
        # The two halves are shuffled apart: no image of one ever meets the same image of the other.
        training(weights, 2 * seed),
        training(architecture, 2 * seed + 1),
        loader(validation, batch_size, training=False, workers=0, shard=shard),
        loader(weights, batch_size, training=False, workers=0),
    )


def _check_crop(data: DataConfig, schedule: ScheduleConfig) -> None:
    """Norms need more than one value per channel where maps are smallest: at 1/64, in zoomed operators."""
    height, width = data.crop
    if min(data.crop) < SMALLEST:
        raise DataError(f"data.crop is {height}x{width}: at least {SMALLEST}x{SMALLEST}")
    if schedule.batch_size * math.ceil(height / SMALLEST) * math.ceil(width / SMALLEST) < 2:
        raise DataError(
            f"batches of {schedule.batch_size} crops of {height}x{width} leave one value per channel at 1/{SMALLEST}: "
            "take a larger crop or batch"
        )
