"""How much latency counts in the search: a fixed factor, or a multiplier that is steered to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

GAIN, PROPORTION, LARGEST = 2.0, 10.0, 200.0
"""Of the multiplier, all relative to the target: the losses it is set against are of the order of 1."""
FARTHEST = 1.0
"""A student that is many times too slow does not push harder than one that is e times too slow."""


@dataclass(frozen=True)
class FixedFactor:
    """λ · Lat (Eq. 8).

    Attributes:
        factor: λ, per ms.
    """

    factor: float

    @property
    def per_ms(self) -> float:
        """What a millisecond costs now."""
        return self.factor

    def __call__(self, latency_ms: Tensor) -> Tensor:
        """The term of the loss."""
        return self.factor * latency_ms

    def observe(self, derived_ms: Sequence[float]) -> None:
        """Nothing is steered."""

    def state_dict(self) -> dict[str, float]:
        """Nothing to remember."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Nothing to remember."""


class SteeredMultiplier:
    """μ · Lat / T, where μ is the multiplier of the constraint Lat = T.

    Dual ascent on log(derived latency / T), of the branches that would be chosen now (before the first validation, the
    mean over all sets of branches), with a proportional part as the augmented Lagrangian has it: μ rises while the
    student that would be derived now is too slow, and falls, below zero if need be, while it is faster than it may be.
    What is steered is the latency of the derived student, which is what the target is about; what carries the gradient
    is the expected latency.

    Args:
        target_ms: T.
    """

    def __init__(self, target_ms: float) -> None:
        self.target_ms = target_ms
        self._integral = 0.0
        self._error = 0.0

    @property
    def multiplier(self) -> float:
        """μ."""
        return max(-LARGEST, min(LARGEST, self._integral + PROPORTION * self._error))

    @property
    def per_ms(self) -> float:
        """What a millisecond costs now; negative while latency is to be used up."""
        return self.multiplier / self.target_ms

    def __call__(self, latency_ms: Tensor) -> Tensor:
        """The term of the loss."""
        return self.per_ms * latency_ms

    def observe(self, derived_ms: Sequence[float]) -> None:
        """Take note of the latency of the students that would be derived now."""
        error = sum(math.log(latency / self.target_ms) for latency in derived_ms) / len(derived_ms)
        self._error = max(-FARTHEST, min(FARTHEST, error))
        self._integral = max(-LARGEST, min(LARGEST, self._integral + GAIN * self._error))

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"integral": self._integral, "error": self._error}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._integral, self._error = state["integral"], state["error"]


LatencyTerm = FixedFactor | SteeredMultiplier
