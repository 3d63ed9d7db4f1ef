"""The protocol of a search space: which operators exist, and how they make up a network. No torch at import."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from latency_db.keys import ImageSize, OpSpec
from latency_db.lattice import LatticeSpecs

if TYPE_CHECKING:
    from torch import nn

Architecture = Any
"""A discrete network. Opaque here: only its own space looks inside."""


@dataclass(frozen=True)
class Decomposition:
    """A network as operators.

    Attributes:
        specs: every operator that the network runs, each as often as it runs it.
        edges: (producer, consumer) as indices into ``specs``, for every feature map that goes from one operator to
            another. The image has no producer.
    """

    specs: tuple[OpSpec, ...]
    edges: tuple[tuple[int, int], ...]


class Space(Protocol):
    """A search space, with its settings bound.

    The names of operators are shared by all spaces of a database: one name, one meaning. A space that brings operators
    of its own gives them names of its own; ``merge`` and ``upsample`` are taken, as their shapes are not the general
    rule.

    A plugin registers a factory ``(**settings) -> Space`` under the entry point group ``latency_db.spaces``.
    """

    name: ClassVar[str]

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings in force: JSON values only."""

    def specs(self, image: ImageSize, batch: int = 1) -> Sequence[OpSpec]:
        """Every operator that any of its architectures can need at this image size, without repetition."""

    def sample(self, rng: random.Random) -> Architecture:
        """A random architecture."""

    def decompose(self, architecture: Architecture, image: ImageSize, batch: int = 1) -> Decomposition:
        """Break an architecture into operators. Every spec is one of ``specs(image, batch)``."""

    def lattice_specs(self, image: ImageSize, batch: int = 1) -> LatticeSpecs | None:
        """The space as a lattice of cells, from which its relaxed latency is made; None where it is no lattice."""

    def build_operator(self, spec: OpSpec) -> nn.Module:
        """One operator as a module in eval mode. Its forward takes as many tensors as ``spec.input_shapes`` has."""

    def build(self, architecture: Architecture) -> nn.Module:
        """The whole network as a module in eval mode; it takes an image tensor of any size ≥ 64×64."""

    def to_json(self, architecture: Architecture) -> dict[str, Any]:
        """The architecture as JSON values."""

    def from_json(self, document: Mapping[str, Any]) -> Architecture:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: the document is not an architecture of this space; the message says where and why.
        """

    def builtin(self) -> Mapping[str, Architecture]:
        """Architectures that can be named wherever a file is expected."""
