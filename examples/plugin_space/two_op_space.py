"""A search space of two operators: chains of 3×3 and 1×1 convolutions at half the image's resolution.

It is the smallest space there can be, written to be copied. Everything that latency-db asks of a space is here:
which operators exist, how to draw an architecture, how to break it into operators, how to build it, how its JSON reads.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, ClassVar

from latency_db.keys import ImageSize, OpSpec
from latency_db.space import Decomposition

if TYPE_CHECKING:
    from torch import nn

CONV3X3 = "conv3x3"
POINTWISE = "pointwise"
KERNELS = {CONV3X3: 3, POINTWISE: 1}


@dataclass(frozen=True)
class Layer:
    """One operator of a chain and the width that it puts out."""

    op: str
    width: int


@dataclass(frozen=True)
class Chain:
    """An architecture: the first layer halves the image's resolution, all others keep it."""

    layers: tuple[Layer, ...]


class PlainConvSpace:
    """Chains of ``depth`` layers.

    The first is a 3×3 convolution of stride 2 on the image; each of the others is one of the two operators.

    Args:
        depth: how many layers a sampled architecture has, and the most that one may have.
        widths: the widths that a layer may put out.
    """

    name: ClassVar[str] = "plain-conv"

    def __init__(self, *, depth: int = 6, widths: Sequence[int] = (8, 16, 32)) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth must be a whole number from 1 on, not {depth!r}")
        if not widths or any(isinstance(width, bool) or not isinstance(width, int) or width < 1 for width in widths):
            raise ValueError(f"widths must be whole numbers from 1 on, at least one, not {widths!r}")
        self.depth = depth
        self.widths = tuple(sorted(set(widths)))

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings in force: JSON values only."""
        return {"depth": self.depth, "widths": list(self.widths)}

    def specs(self, image: ImageSize, batch: int = 1) -> Sequence[OpSpec]:
        """Every operator that any chain can need at this image size, without repetition."""
        first = [self._spec(0, CONV3X3, 3, width, image, batch) for width in self.widths]
        if self.depth == 1:
            return first
        later = product(KERNELS, self.widths, self.widths)
        return first + [self._spec(1, op, c_in, c_out, image, batch) for op, c_in, c_out in later]

    def sample(self, rng: random.Random) -> Chain:
        """A random chain: every operator and width drawn independently and uniformly."""
        first = Layer(CONV3X3, rng.choice(self.widths))
        later = [Layer(rng.choice(list(KERNELS)), rng.choice(self.widths)) for _ in range(self.depth - 1)]
        return Chain((first, *later))

    def decompose(self, architecture: Chain, image: ImageSize, batch: int = 1) -> Decomposition:
        """One operator per layer, each fed by the one before it."""
        widths = [3, *(layer.width for layer in architecture.layers)]
        specs = tuple(
            self._spec(index, layer.op, c_in, c_out, image, batch)
            for index, (layer, (c_in, c_out)) in enumerate(zip(architecture.layers, pairwise(widths), strict=True))
        )
        return Decomposition(specs=specs, edges=tuple(pairwise(range(len(specs)))))

    def lattice_specs(self, image: ImageSize, batch: int = 1) -> None:
        """A chain is no lattice: it is profiled, validated and predicted, but has no relaxed latency."""

    def build_operator(self, spec: OpSpec) -> nn.Module:
        """Convolution and ReLU, in eval mode."""
        from torch import nn

        if spec.op not in KERNELS:
            raise ValueError(f"{self.name} has no operator {spec.op!r}; it has {', '.join(KERNELS)}")
        kernel = KERNELS[spec.op]
        conv = nn.Conv2d(spec.c_in, spec.c_out, kernel, stride=spec.stride, padding=kernel // 2)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        return nn.Sequential(conv, nn.ReLU()).eval()

    def build(self, architecture: Chain) -> nn.Module:
        """The operators of :meth:`decompose`, one after the other; the modules do not depend on the image's size."""
        from torch import nn

        specs = self.decompose(architecture, ImageSize(64, 64)).specs
        return nn.Sequential(*(self.build_operator(spec) for spec in specs)).eval()

    def to_json(self, architecture: Chain) -> dict[str, Any]:
        """``{"space": "plain-conv", "layers": [{"op": "conv3x3", "width": 16}, …]}``."""
        return {
            "space": self.name,
            "layers": [{"op": layer.op, "width": layer.width} for layer in architecture.layers],
        }

    def from_json(self, document: Mapping[str, Any]) -> Chain:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: the document is not a chain of this space; the message says where and why.
        """
        if not isinstance(document, Mapping):
            raise ValueError(f"an architecture is a JSON object, not {document!r}")
        if document.get("space") != self.name:
            raise ValueError(f"space: {document.get('space')!r} is not {self.name!r}")
        if unknown := sorted(map(str, set(document) - {"space", "layers"})):
            raise ValueError(f"unknown key {unknown[0]!r}")
        items = document.get("layers")
        if not isinstance(items, list) or not 1 <= len(items) <= self.depth:
            raise ValueError(f"layers: must be a list of 1 to {self.depth} layers")
        return Chain(tuple(self._read_layer(index, item) for index, item in enumerate(items)))

    def builtin(self) -> Mapping[str, Chain]:
        """``light``: 1×1 convolutions at the smallest width; ``heavy``: 3×3 convolutions at the largest."""
        return {
            "light": self._uniform(POINTWISE, self.widths[0]),
            "heavy": self._uniform(CONV3X3, self.widths[-1]),
        }

    def _uniform(self, op: str, width: int) -> Chain:
        return Chain((Layer(CONV3X3, width), *(Layer(op, width) for _ in range(self.depth - 1))))

    def _spec(self, index: int, op: str, c_in: int, c_out: int, image: ImageSize, batch: int) -> OpSpec:
        s, stride = (1, 2) if index == 0 else (2, 1)
        return OpSpec(op=op, s=s, c_in=c_in, c_out=c_out, stride=stride, image=image, batch=batch)

    def _read_layer(self, index: int, item: object) -> Layer:
        where = f"layers[{index}]"
        if not isinstance(item, Mapping) or set(item) != {"op", "width"}:
            raise ValueError(f"{where}: must be an object of op and width, not {item!r}")
        op, width = item["op"], item["width"]
        allowed = (CONV3X3,) if index == 0 else tuple(KERNELS)
        if op not in allowed:
            raise ValueError(f"{where}.op: {op!r} is not {' or '.join(allowed)}")
        if isinstance(width, bool) or width not in self.widths:
            raise ValueError(f"{where}.width: {width!r} is not one of {', '.join(map(str, self.widths))}")
        return Layer(op, int(width))
