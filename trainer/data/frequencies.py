"""How often each class occurs: for weights of a loss, and to see what a data set is like."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainer.data.dataset import SegmentationDataset
from trainer.data.errors import DataError


def class_frequencies(dataset: SegmentationDataset) -> Tensor:
    """Each class's share of the pixels that have one, before augmentation: float64 (num_classes,), sums to 1.

    Reads every label once, and no image where they lie in files of their own.

    Raises:
        DataError: no pixel has a class, or a label is wrong.
    """
    counts = np.zeros(256, dtype=np.int64)
    for index in range(len(dataset)):
        counts += np.array(dataset.read_label(index).histogram(), dtype=np.int64)
    known = torch.from_numpy(counts[: dataset.num_classes]).to(torch.float64)
    if not known.sum():
        raise DataError(f"{dataset.name}: no pixel of its {len(dataset)} labels has a class")
    return known / known.sum()
