"""Which visits an estimate rests on. The one place where that is decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from backends.observers import CONTENDED, THROTTLED

LEFT_OUT_FLAGS = frozenset({THROTTLED, CONTENDED})
"""A visit with one of these says little of what was visited. ``disturbed`` and ``noisy`` visits count: what disturbed
them, the reference felt as well."""
LEAST_CLEAN = 2
"""Fewer clean visits than this have no interval."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The visits that count.

    Attributes:
        values: of those, one per visit.
        left_out: how many do not count.
        flagged: there are too few clean visits, and all count. The estimate is one that nobody should trust, and
            whoever shows it says so.
    """

    values: tuple[float, ...]
    left_out: int = 0
    flagged: bool = False


def counted(values: Sequence[float], clean: Sequence[bool]) -> Counted:
    """The clean ones; all of them where fewer than ``LEAST_CLEAN`` are.

    Args:
        values: one per visit.
        clean: whether each is.
    """
    good = tuple(value for value, is_clean in zip(values, clean, strict=True) if is_clean)
    if len(good) == len(values):
        return Counted(values=good)
    if len(good) < LEAST_CLEAN:
        return Counted(values=tuple(values), flagged=True)
    return Counted(values=good, left_out=len(values) - len(good))


@dataclass
class Visited:
    """The visits to one workload, as they come.

    Attributes:
        values: one per visit: its ratio.
        clean: whether it is.
    """

    values: list[float] = field(default_factory=list)
    clean: list[bool] = field(default_factory=list)

    @classmethod
    def all_clean(cls, values: Iterable[float]) -> Visited:
        """Visits of which nothing bad is known."""
        found = list(values)
        return cls(found, [True] * len(found))

    def __len__(self) -> int:
        return len(self.values)

    def add(self, value: float, clean: bool) -> None:
        """One more."""
        self.values.append(value)
        self.clean.append(clean)

    @property
    def in_order(self) -> tuple[float, ...]:
        """One per visit, NaN for those that do not count: what is at one place for several workloads is of one time."""
        found = self.counted
        if found.flagged:
            return found.values
        return tuple(value if clean else math.nan for value, clean in zip(self.values, self.clean, strict=True))

    @property
    def counted(self) -> Counted:
        """Those that count."""
        return counted(self.values, self.clean)
