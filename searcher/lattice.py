"""The lattice of cells (s, layer), and walking back through it (sections 3.1 and 3.4 of FasterSeg). No torch here."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.architecture import CELL_OPERATORS, Branch, Cell

CellKey = tuple[int, int]
"""(s, layer)."""


@dataclass(frozen=True)
class Choice:
    """What one cell of the lattice chose; operator and width serve both of its strides.

    Attributes:
        op: its operator.
        chi: the width of what goes out of it; ``None`` in the last layer, which emits the head's width.
        downsampled: whether its input comes from the finer scale (β⁰) rather than from its own (β¹).
    """

    op: str
    chi: int | None
    downsampled: bool


@dataclass(frozen=True)
class Lattice:
    """Which cells exist.

    A cell (s, l) exists from the layer on at which s can first be reached: scale number i from layer i.
    """

    layers: int
    scales: tuple[int, ...]
    chis: tuple[int, ...]
    branches: int

    def cells(self) -> tuple[CellKey, ...]:
        """Every cell, layer by layer, fine to coarse."""
        return tuple(
            (s, layer) for layer in range(self.layers) for index, s in enumerate(self.scales) if layer >= index
        )

    def is_last(self, cell: CellKey) -> bool:
        """Whether the cell is in the last layer: no width of its own, no skip."""
        return cell[1] == self.layers - 1

    def operators(self, cell: CellKey) -> tuple[str, ...]:
        """The operators that the cell chooses from."""
        return tuple(op for op in CELL_OPERATORS if op != "skip" or not self.is_last(cell))

    def predecessors(self, cell: CellKey) -> tuple[bool, ...]:
        """The values that ``Choice.downsampled`` can take: from the finer scale (True), from its own (False)."""
        s, layer = cell
        index = self.scales.index(s)
        own = layer > index or index == 0
        return ((True,) if index > 0 else ()) + ((False,) if own else ())

    def branch_sets(self) -> tuple[tuple[int, ...], ...]:
        """Every set of final scales, each fine to coarse."""
        return tuple(itertools.combinations(self.scales, self.branches))

    def walk_back(self, choices: Mapping[CellKey, Choice], final: int) -> Branch:
        """The branch that ends at scale ``final``: from its last cell, each cell's predecessor in turn.

        A skip at stride 1 vanishes.
        """
        cells: list[Cell] = []
        s, stride = final, 1
        for layer in reversed(range(self.layers)):
            choice = choices[s, layer]
            if not (choice.op == "skip" and stride == 1):
                cells.append(Cell(layer=layer, s=s, stride=stride, op=choice.op, chi=choice.chi))
            stride = 2 if choice.downsampled else 1
            s //= stride
        return Branch(cells=tuple(reversed(cells)))

    def sample(self, rng: random.Random) -> tuple[dict[CellKey, Choice], tuple[int, ...]]:
        """All choices uniform and independent, branch sets equally likely; nothing is rejected."""
        choices = {
            cell: Choice(
                op=rng.choice(self.operators(cell)),
                chi=None if self.is_last(cell) else rng.choice(self.chis),
                downsampled=rng.choice(self.predecessors(cell)),
            )
            for cell in self.cells()
        }
        return choices, rng.choice(self.branch_sets())
