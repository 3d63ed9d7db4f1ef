"""One search by several processes, started by ``torchrun``: the same draws, other images, one mean gradient."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 16 * 1024 * 1024
"""Values that are sent at once: large enough to be fast, small beside the gradients themselves."""


@dataclass(frozen=True)
class Processes:
    """Which process this is.

    Attributes:
        rank: from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes. All run the same draw, so all have the same ones."""
        if self.count == 1:
            return
        self._average([parameter.grad for parameter in parameters if parameter.grad is not None])

    def average_buffers(self, module: nn.Module) -> None:
        """Give all processes the mean of what their norms remember: each has seen other images."""
        if self.count == 1:
            return
        self._average([buffer for buffer in module.buffers() if buffer.is_floating_point()])

    def mean(self, value: float) -> float:
        """A number's mean over the processes."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(tensor)
        return float(tensor) / self.count

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()

    @torch.no_grad()
    def _average(self, tensors: list[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            dist.all_reduce(flat)
            flat /= self.count
            for tensor, mean in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(mean.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


@contextmanager
def processes() -> Iterator[Processes]:
    """The group that ``torchrun`` started this process in; alone without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    # Numbers are averaged on the CPU, gradients where they are.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()
