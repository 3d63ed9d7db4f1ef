"""Batches, made ahead by worker processes, in an order that a resumed run continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.data.dataset import Item, Place, SegmentationDataset
from trainer.data.errors import DataError
from trainer.data.order import Progress, ResumableSampler


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        image: float32 (N, 3, H, W).
        label: int64 (N, H, W).
    """

    image: Tensor
    label: Tensor


class Loader:
    """Iterates over one epoch's batches; what they are depends on neither the number of workers nor on interruptions.

    In training, iterating goes on where the last iteration stopped, and :meth:`state_dict` says where that is. It
    counts batches handed out, not those that workers have made ahead: save it after the step that used a batch.
    Otherwise each iteration goes through all samples, from the first. Only one iteration may be under way.

    Where several processes share the samples, all of this holds in each of them, for its part of every batch.
    """

    def __init__(
        self, dataset: SegmentationDataset, sampler: ResumableSampler, *, workers: int, prefetch: int, pin_memory: bool
    ) -> None:
        self.dataset = dataset
        self._sampler = sampler
        self._batches: DataLoader[Item | DataError] = DataLoader(
            _Carrier(dataset),
            batch_sampler=sampler,
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            collate_fn=_collate,
            pin_memory=pin_memory,
            # Seeds for workers come out of this one: torch's own generator stays as the training left it.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches of a whole epoch, of this process."""
        return self._sampler.batches_in(self._sampler.length)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            if isinstance(batch, DataError):
                raise batch
            if self._sampler.training:
                # Before the batch is handed out: who saves the state while working on it has had it.
                self._sampler.advance(self._sampler.batch_of_all)
            yield batch

    def forever(self) -> Iterator[Batch]:
        """Batches of one epoch after the other, without end."""
        while True:
            yield from self

    @property
    def progress(self) -> Progress:
        """Where the next iteration starts."""
        return self._sampler.progress

    def seek(self, progress: Progress) -> None:
        """Let the next iteration start there; at the next epoch's beginning, where no batch is left of that one.

        Raises:
            DataError: not in training, where every iteration is a whole epoch, or there is no such place.
        """
        if not self._sampler.training:
            raise DataError("validation always goes through all images: only training can start later")
        if progress.epoch < 0 or not 0 <= progress.position <= self._sampler.length:
            raise DataError(
                f"epoch {progress.epoch}, position {progress.position} is no place in epochs of "
                f"{self._sampler.length} images"
            )
        self._sampler.seek(progress)

    def state_dict(self) -> dict[str, int]:
        """Where the next iteration starts, and of what: plain numbers, for a checkpoint, equal in all processes."""
        progress = self._sampler.progress
        return {
            "epoch": progress.epoch,
            "position": progress.position,
            "seed": self._sampler.seed,
            "length": self._sampler.length,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where :meth:`state_dict` was taken; batch size and number of processes may have changed.

        Raises:
            DataError: the state is of another seed or of a data set of another length, where the order is another; or
                this is no loader for training.
        """
        missing = [key for key in self.state_dict() if key not in state]
        if missing:
            raise DataError(f"the loader's state has no {missing[0]!r}")
        for key, here in (("seed", self._sampler.seed), ("length", self._sampler.length)):
            if state[key] != here:
                raise DataError(f"the loader's state is of another run: its {key} was {state[key]}, here it is {here}")
        self.seek(Progress(state["epoch"], state["position"]))


def loader(
    dataset: SegmentationDataset,
    batch_size: int,
    *,
    training: bool = True,
    seed: int = 0,
    start: Progress | None = None,
    shard: tuple[int, int] = (0, 1),
    workers: int = 2,
    prefetch: int = 2,
    pin_memory: bool = False,
) -> Loader:
    """Batches of a data set.

    Args:
        dataset: where they come from; give it an augmentation for training and none for validation.
        batch_size: samples in a batch of this process.
        training: shuffled, without a last batch that is not full; otherwise every sample once, in order. The share of a
            process may then be one sample shorter than that of another, and empty.
        seed: decides order and augmentation.
        start: where to begin, in training; at the beginning by default.
        shard: (rank, processes) where several processes go through the samples together. Their batches are together
            those of one process with a batch of batch_size · processes, of which rank r takes every processes-th
            sample from the r-th on.
        workers: processes that make batches ahead; 0 makes them where they are asked for.
        prefetch: batches that each worker makes ahead.
        pin_memory: put batches where a CUDA device copies them from without waiting.

    Raises:
        DataError: the samples do not fill a batch of all processes in training, there is none otherwise, or a number is
            out of range.
    """
    if batch_size < 1 or workers < 0 or prefetch < 1:
        raise DataError(f"batch size {batch_size}, {workers} workers, {prefetch} batches ahead: one of them is too few")
    rank, processes = shard
    if not 0 <= rank < processes:
        raise DataError(f"shard {rank} of {processes} is none: shards are counted from 0")
    sampler = ResumableSampler(len(dataset), batch_size, training=training, seed=seed, shard=shard)
    if len(dataset) < (sampler.batch_of_all if training else 1):
        raise DataError(f"{dataset.name}: too few images for a batch of {sampler.batch_of_all}: {len(dataset)}")
    made = Loader(dataset, sampler, workers=workers, prefetch=prefetch, pin_memory=pin_memory)
    if start is not None:
        made.seek(start)
    return made


class _Carrier(Dataset[Item | DataError]):
    """Brings errors home as values: torch would wrap one raised in a worker into a page of traceback."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, place: Place) -> Item | DataError:
        try:
            return self._dataset[place]
        except DataError as error:
            return error


def _collate(items: list[Item | DataError]) -> Batch | DataError:
    good = []
    for item in items:
        if isinstance(item, DataError):
            return item
        good.append(item)
    sizes = sorted({tuple(item.label.shape) for item in good})
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = sizes[0], sizes[-1]
        return DataError(
            f"images of {height}x{width} and {other_height}x{other_width} do not fit into one batch: "
            "bring them to one size, crop them, or take batches of 1"
        )
    return Batch(torch.stack([item.image for item in good]), torch.stack([item.label for item in good]))
