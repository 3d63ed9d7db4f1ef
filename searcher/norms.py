"""What batch norms remember of the batches they saw: left alone for a while, or estimated anew for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


def norms_in(modules: Iterable[nn.Module]) -> list[nn.BatchNorm2d]:
    """The batch norms of the modules."""
    return [norm for module in modules for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]


@contextmanager
def statistics_kept(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Inside, norms write what they see to copies of their statistics and counters; on leaving, those are dropped.

    So a pass is what it would be otherwise, down to what it saves for its backward pass, wherever that runs. (Momentum
    0 would remember 0 · inf of a batch that overflowed; copying back would make statistics that a backward pass has
    saved look changed.)
    """
    before = _replace_by_copies(norms)
    try:
        yield
    finally:
        for norm, buffers in zip(norms, before, strict=True):
            _set(norm, buffers)


@contextmanager
def statistics_averaged(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Inside, norms in training mode forget, and then remember the mean over the batches that they see.

    Those that see none remember on leaving what they did before.
    """
    before = _replace_by_copies(norms)
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        yield
    finally:
        for norm, buffers, momentum in zip(norms, before, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked == 0:
                _set(norm, buffers)


def _replace_by_copies(norms: Sequence[nn.BatchNorm2d]) -> list[dict[str, Tensor]]:
    """Give every norm copies of its statistics and counter, and return the originals."""
    originals = [dict(norm.named_buffers()) for norm in norms]
    for norm, buffers in zip(norms, originals, strict=True):
        _set(norm, {name: buffer.clone() for name, buffer in buffers.items()})
    return originals


def _set(norm: nn.BatchNorm2d, buffers: dict[str, Tensor]) -> None:
    for name, buffer in buffers.items():
        setattr(norm, name, buffer)
