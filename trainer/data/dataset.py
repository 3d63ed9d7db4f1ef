"""A source as a torch data set: augmented if asked, normalised, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from trainer.data.hashing import generator
from trainer.data.sample import IGNORE, Sample, Size, Source

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, for red, green and blue in [0, 1]."""


class Transform(Protocol):
    """Augmentation: a function of the sample and of what it draws from the generator, and of nothing else."""

    def __call__(self, sample: Sample, rng: Random) -> Sample:
        """The augmented sample."""


@dataclass(frozen=True)
class Place:
    """A sample at a point of a training run: all that its augmentation depends on."""

    index: int
    epoch: int = 0
    seed: int = 0


class Item(NamedTuple):
    """What a data set gives.

    Attributes:
        image: float32 (3, H, W), normalised by :data:`MEAN` and :data:`STD`.
        label: int64 (H, W), class indices and 255 where there is none.
    """

    image: Tensor
    label: Tensor


class SegmentationDataset(Dataset[Item]):
    """Samples of a source as tensors.

    Attributes:
        source: where they come from.
        transform: their augmentation; None for plain normalisation.
        indices: which samples of the source these are; None for all.
        ignore_index: the label of pixels without a class.
    """

    ignore_index = IGNORE

    def __init__(
        self, source: Source, transform: Transform | None = None, indices: Sequence[int] | None = None
    ) -> None:
        self.source = source
        self.transform = transform
        self.indices = None if indices is None else tuple(int(index) for index in indices)

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.source.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of their labels."""
        return self.source.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.source.classes)

    @property
    def size(self) -> Size:
        """The native size of the first image, before augmentation."""
        return self.source.size

    def __len__(self) -> int:
        return len(self.source) if self.indices is None else len(self.indices)

    def __getitem__(self, place: int | Place) -> Item:
        """One sample; a plain index stands for epoch 0 and seed 0.

        Raises:
            DataError: a file is missing or wrong; the message names it.
        """
        place = place if isinstance(place, Place) else Place(place)
        index = self._source_index(place.index)
        sample = self.source.read(index)
        if self.transform is not None:
            # By the source's index: half a data set augments its images as the whole does.
            sample = self.transform(sample, generator(place.seed, place.epoch, index))
        return Item(normalise(sample.image), torch.from_numpy(np.array(sample.label, dtype=np.int64)))

    def read_label(self, index: int) -> Image.Image:
        """The label of a sample before augmentation, mode L."""
        return self.source.read_label(self._source_index(index))

    def with_transform(self, transform: Transform | None) -> SegmentationDataset:
        """The same samples, augmented otherwise."""
        return SegmentationDataset(self.source, transform, self.indices)

    def subset(self, indices: Sequence[int]) -> SegmentationDataset:
        """Some of the samples, in this order."""
        return SegmentationDataset(self.source, self.transform, [self._source_index(index) for index in indices])

    def _source_index(self, index: int) -> int:
        # An IndexError, as torch and Python's own iteration expect it of a sequence.
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no sample {index}: it has {len(self)}")
        return index if self.indices is None else self.indices[index]


def normalise(image: Image.Image) -> Tensor:
    """An RGB image as float32 (3, H, W), normalised."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    return values.sub_(mean * 255).div_(std * 255)
