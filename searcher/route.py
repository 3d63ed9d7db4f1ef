"""Which cells of the supernet run in one draw, and with which weights: from probabilities to what is possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latency_db.lattice import CellKey, Lattice
from searcher.draw import Draw


@dataclass(frozen=True)
class Weight:
    """A probability: as a number, which says what runs, and as a tensor, through which gradients flow.

    ``tensor`` is None where the probability is 1 and nothing is to be learnt about it.
    """

    number: float
    tensor: Tensor | None

    @classmethod
    def of(cls, number: float, tensor: Tensor) -> Weight:
        """The same probability as a number and as a tensor."""
        return cls(number, None if number == 1 and not tensor.requires_grad else tensor)

    def times(self, other: Weight) -> Weight:
        """The probability of both, independent of each other."""
        if self.tensor is None or other.tensor is None:
            return self if other.tensor is None else other
        return Weight(self.number * other.number, self.tensor * other.tensor)

    def plus(self, other: Weight) -> Weight:
        """The probability of either, which exclude each other."""
        one, two = (1.0 if weight.tensor is None else weight.tensor for weight in (self, other))
        return Weight(self.number + other.number, torch.as_tensor(one + two))

    def scale(self, x: Tensor) -> Tensor:
        """The map times the probability; itself where that is certain."""
        return x if self.tensor is None else x * self.tensor


CERTAIN = Weight(1.0, None)
"""What is no choice."""


@dataclass(frozen=True)
class Route:
    """One draw, ready to run: of every cell its weights and its width, and of every branch where it may pass.

    Attributes:
        operators: per cell, the operators that run.
        inputs: per cell, the predecessors that are not out of the question: whether finer, with β.
        chi: per cell, its width; none in the last layer.
        drawn: per cell, the straight-through multiplier of its width.
        visits: per final scale, the cells that walking back from it may pass, with the probability that it does.
    """

    operators: Mapping[CellKey, tuple[tuple[str, Weight], ...]]
    inputs: Mapping[CellKey, tuple[tuple[bool, Weight], ...]]
    chi: Mapping[CellKey, int]
    drawn: Mapping[CellKey, Weight]
    visits: Mapping[int, Mapping[CellKey, Weight]]

    @classmethod
    def of(cls, lattice: Lattice, draw: Draw, finals: Iterable[int]) -> Route:
        """Read a draw for the branches that end at the scales ``finals``.

        Raises:
            ValueError: a cell is left without choice.
        """
        alpha, beta = draw.alpha.tolist(), draw.beta.tolist()
        widths = draw.gamma.argmax(-1).tolist()
        operators, inputs, chi, drawn = {}, {}, {}, {}
        for cell in lattice.cells():
            layer, scale = cell[1], lattice.scales.index(cell[0])
            place = layer, scale
            offered = lattice.operators(cell)
            operators[cell] = tuple(
                (op, Weight.of(alpha[layer][scale][index], draw.alpha[(*place, index)]))
                for index, op in enumerate(lattice.ops)
                if op in offered and alpha[layer][scale][index] != 0
            )
            predecessors = lattice.predecessors(cell)
            inputs[cell] = tuple(
                (finer, Weight.of(beta[layer][scale][1 - finer], draw.beta[(*place, 1 - finer)]))
                for finer in predecessors
                if beta[layer][scale][1 - finer] != 0
            )
            if len(predecessors) == 1:
                inputs[cell] = ((predecessors[0], CERTAIN),)
            if not lattice.is_last(cell):
                index = widths[layer][scale]
                chi[cell] = lattice.chis[index]
                drawn[cell] = Weight(1.0, draw.gamma[(*place, index)] if draw.gamma.requires_grad else None)
        for what, of_cell in (("alpha", operators), ("beta", inputs)):
            missing = [cell for cell, chosen in of_cell.items() if not chosen]
            if missing:
                raise ValueError(f"{what} is 0 for every choice of the cell (s, layer) = {missing[0]}")
        visits = {final: _walk_back(lattice, inputs, final) for final in finals}
        return cls(operators, inputs, chi, drawn, visits)

    def passes(self, cell: CellKey) -> bool:
        """Whether any branch may pass the cell."""
        return any(cell in visited for visited in self.visits.values())

    def strides(self, cell: CellKey) -> tuple[int, ...]:
        """The strides at which a cell is used: 1 in the last layer, before it those towards cells that may take it."""
        s, layer = cell
        if cell not in self.chi:
            return (1,)
        return tuple(
            stride
            for stride in (1, 2)
            if self.passes((s * stride, layer + 1))
            and any(finer == (stride == 2) for finer, _ in self.inputs[s * stride, layer + 1])
        )

    def downsamples(self, cell: CellKey) -> Iterator[tuple[int, Weight]]:
        """The branches that may downsample in the cell: their final scales, with the probability that they do."""
        s, layer = cell
        follower = 2 * s, layer + 1
        for final, visited in self.visits.items():
            for finer, weight in self.inputs.get(follower, ()) if follower in visited else ():
                if finer:
                    yield final, visited[follower].times(weight)


def _walk_back(
    lattice: Lattice, inputs: Mapping[CellKey, Sequence[tuple[bool, Weight]]], final: int
) -> dict[CellKey, Weight]:
    """P(a branch that ends at scale ``final`` passes the cell), from the last layer to the first."""
    visits = {(final, lattice.layers - 1): CERTAIN}
    for layer in reversed(range(1, lattice.layers)):
        for s in lattice.scales:
            here = visits.get((s, layer))
            if here is None:
                continue
            for finer, weight in inputs[s, layer]:
                before = (s // 2 if finer else s), layer - 1
                reached = here.times(weight)
                visits[before] = visits[before].plus(reached) if before in visits else reached
    return visits
