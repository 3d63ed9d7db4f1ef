"""What every network of the zoo offers, and what those offer that are trained with auxiliary losses."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn


class SegmentationNetwork(Protocol):
    """A module made by ``Network(num_classes, auxiliary=…)``."""

    def __call__(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), H and W ≥ 64, of any size → logits (N, num_classes, h, w); the class says at what fraction."""


@runtime_checkable
class AuxiliaryNetwork(Protocol):
    """A network whose paper adds losses on intermediate feature maps while it trains.

    Attributes:
        auxiliary_weights: the weight of each auxiliary loss, the main loss counting 1; in the order of the heads.
        auxiliary_heads: what makes logits of the intermediate maps; there only if built with ``auxiliary=True``.
    """

    auxiliary_weights: ClassVar[tuple[float, ...]]
    auxiliary_heads: nn.ModuleList

    def with_auxiliary(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(N, 3, H, W) → the logits that ``forward`` returns, and one (N, num_classes, h, w) per auxiliary head."""
