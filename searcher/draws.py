"""Draws of the whole lattice, many at once. Plain numpy.

A draw is a choice in every cell; its network is what walking back from the final cells gives. N draws, L layers,
S scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searcher.lattice import Choice
from searcher.space import FasterSegSpace
from trainer.architecture import Architecture

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """Draws as numbers of choices: (N, L, S) each, or (L, S) for a single one.

    Attributes:
        op: operators.
        chi: widths; of no account in the last layer.
        down: 1 where the input comes from the finer scale, 0 where it comes from the cell's own.
    """

    op: Index
    chi: Index
    down: Index

    def __len__(self) -> int:
        return len(self.op)

    def at(self, which: int | slice | Index | None) -> Draws:
        """Some of them; one of them by its number; of a single one a batch by ``None``."""
        return Draws(self.op[which], self.chi[which], self.down[which])

    def repeat(self, n: int) -> Draws:
        """A batch of n copies of a single draw."""
        return Draws(*(np.repeat(part[None], n, axis=0) for part in (self.op, self.chi, self.down)))

    def where(self, mask: Mask, other: Draws) -> Draws:
        """These where the mask holds, elsewhere the other's."""
        return Draws(
            np.where(mask, self.op, other.op),
            np.where(mask, self.chi, other.chi),
            np.where(mask, self.down, other.down),
        )


class Visits(NamedTuple):
    """What the branches of N draws pass.

    Attributes:
        used: (N, L, S, 2) whether the cell is used at stride 1, at stride 2.
        joins: (N, L, S) how many branches downsample in the cell.
    """

    used: Mask
    joins: Index

    @property
    def passed(self) -> Mask:
        """(N, L, S) whether the cell is used at all."""
        return self.used[..., 0] | self.used[..., 1]


def visits(down: Index, finals: Sequence[int]) -> Visits:
    """Walk back from the last layer's cells at the scales of these numbers; ``down`` is (N, L, S)."""
    n, layers, n_scales = down.shape
    used, joins = np.zeros((n, layers, n_scales, 2), dtype=bool), np.zeros((n, layers, n_scales), dtype=np.intp)
    rows = np.arange(n)
    for final in finals:
        s, halved = np.full(n, final), np.zeros(n, dtype=np.intp)
        for layer in reversed(range(layers)):
            used[rows, layer, s, halved] = True
            joins[rows, layer, s] += halved
            halved = down[rows, layer, s]
            s = s - halved
    return Visits(used, joins)


def architecture(draw: Draws, finals: Sequence[int], space: FasterSegSpace) -> Architecture:
    """The network of a single draw that ends at the scales ``finals``."""
    lattice = space.lattice
    choices = {}
    for cell in lattice.cells():
        place = cell[1], lattice.scales.index(cell[0])
        choices[cell] = Choice(
            op=lattice.ops[draw.op[place]],
            chi=None if lattice.is_last(cell) else lattice.chis[draw.chi[place]],
            downsampled=bool(draw.down[place]),
        )
    return space.architecture(choices, finals)
