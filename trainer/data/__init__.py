"""Data for semantic segmentation: data sets, augmentation, and batches in an order that can be resumed."""

from __future__ import annotations

from trainer.data.augment import Augment
from trainer.data.batches import Batch, Loader, loader
from trainer.data.dataset import Item, Place, SegmentationDataset
from trainer.data.errors import DataError
from trainer.data.frequencies import class_frequencies
from trainer.data.halves import split_in_halves
from trainer.data.order import Progress
from trainer.data.registry import OPENERS, open_dataset
from trainer.data.sample import IGNORE, Sample, Size, Source

__all__ = [
    "IGNORE",
    "OPENERS",
    "Augment",
    "Batch",
    "DataError",
    "Item",
    "Loader",
    "Place",
    "Progress",
    "Sample",
    "SegmentationDataset",
    "Size",
    "Source",
    "class_frequencies",
    "loader",
    "open_dataset",
    "split_in_halves",
]
