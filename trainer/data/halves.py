"""One data set as two: a search trains weights on one half and judges architectures on the other."""

from __future__ import annotations

from trainer.data.dataset import SegmentationDataset
from trainer.data.errors import DataError
from trainer.data.hashing import permutation


def split_in_halves(dataset: SegmentationDataset, seed: int = 0) -> tuple[SegmentationDataset, SegmentationDataset]:
    """Two disjoint halves, for the steps of the weights and those of the architecture.

    They are equally long; of an odd number of samples, one is in neither half. Which sample is in which depends on
    ``seed`` and on the number of samples alone.

    Raises:
        DataError: fewer than two samples.
    """
    half = len(dataset) // 2
    if not half:
        raise DataError(f"{dataset.name}: too few images to split in halves: {len(dataset)}")
    order = permutation(len(dataset), seed).tolist()
    return dataset.subset(sorted(order[:half])), dataset.subset(sorted(order[half : 2 * half]))
