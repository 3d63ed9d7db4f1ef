"""The images of a search: one half for the weights, one for the architecture, some that neither sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from searcher.config import DataConfig, ScheduleConfig
from trainer.data import Augment, Batch, Loader, SegmentationDataset, Size, loader, open_dataset, split_in_halves
from trainer.data.crop import check_crop, check_image
from trainer.data.errors import DataError
from trainer.data.hashing import permutation
from trainer.runs.processes import Processes


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
    check_crop(data.crop, schedule.batch_size)
    dataset = open_dataset(data.dataset, data.folder, data.split, size=data.size, count=data.count)
    # Before each validation, norms see images as they are; the last batch of them may hold one.
    check_image(dataset.size)
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
