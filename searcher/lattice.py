"""Architectures out of the lattice of cells: walking back and sampling (sections 3.1, 3.4 of FasterSeg). No torch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from latency_db.lattice import CellKey, Lattice
from trainer.architecture import CELL_OPERATORS, Branch, Cell


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
class FasterSegLattice(Lattice):
    """The lattice of FasterSeg, whose cells become those of an architecture."""

    ops: tuple[str, ...] = CELL_OPERATORS
    skip: str | None = "skip"

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
