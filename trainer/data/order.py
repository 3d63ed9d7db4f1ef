"""In which order samples come, and from where on: resumable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

from trainer.data.dataset import Place
from trainer.data.hashing import permutation


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: passes through the data that are complete.
        position: samples of the present pass that have been handed out, by all processes together.
    """

    epoch: int = 0
    position: int = 0


class ResumableSampler(Sampler[list[Place]]):
    """The batches of an epoch from a position on. An epoch's order depends on seed, epoch and length alone.

    Several processes that go through the epoch together make the batches of one process with a batch as large as theirs
    together: of each, process r takes the places r, r + processes, r + 2 · processes and so on.

    Attributes:
        length: samples in the data set; in training, they fill a batch of all processes at least.
        batch_size: samples in a batch of this process.
        training: shuffle, and leave out what fills no batch; otherwise every sample once, in order.
        seed: decides the order, and the augmentation by way of the places.
        shard: (rank, processes): which process this is, and of how many.
        progress: where the next iteration starts, the same in all processes; in training, there is a batch left.
    """

    def __init__(
        self, length: int, batch_size: int, *, training: bool, seed: int, shard: tuple[int, int] = (0, 1)
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.shard = shard
        self.progress = Progress()

    @property
    def batch_of_all(self) -> int:
        """Samples in a batch of all processes together."""
        return self.batch_size * self.shard[1]

    def __iter__(self) -> Iterator[list[Place]]:
        # Prefetching runs ahead of the progress, which counts what was handed out: look at it once.
        epoch, start = self.progress.epoch, self.progress.position
        order = permutation(self.length, self.seed, epoch).tolist() if self.training else range(self.length)
        rank, processes = self.shard
        for number in range(len(self)):
            first = start + number * self.batch_of_all
            mine = order[first + rank : first + self.batch_of_all : processes]
            yield [Place(index, epoch, self.seed) for index in mine]

    def __len__(self) -> int:
        """Batches of this process from the present position to the epoch's end."""
        return self.batches_in(self.length - self.progress.position)

    def batches_in(self, samples: int) -> int:
        """How many batches so many samples, shared by all processes, make for this one."""
        if self.training:
            return samples // self.batch_of_all
        share = len(range(self.shard[0], samples, self.shard[1]))
        return -(-share // self.batch_size)

    def seek(self, progress: Progress) -> None:
        """Start the next iteration there; at the next epoch's beginning, where no batch is left of that one."""
        left = self.batches_in(self.length - progress.position)
        self.progress = progress if left else Progress(progress.epoch + 1)

    def advance(self, samples: int) -> None:
        """Note that so many samples were handed out by all processes together."""
        self.seek(Progress(self.progress.epoch, self.progress.position + samples))
