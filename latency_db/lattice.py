"""A search space as a lattice of cells, as plain data: all that the relaxed latency needs to know of it. No torch here.

A cell (s, layer) draws three things independently: its predecessor (β: the cell before it at its own scale, or the one
at the next finer scale), its operator (α) and the width of what goes out of it (γ). Branches start at their final cells
and walk back through the predecessors; an *edge* (s, layer, stride) is a cell at the stride at which it is used, and is
paid once however many branches use it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from latency_db.calibration import PairKey
from latency_db.keys import ImageSize, OpSpec

CellKey = tuple[int, int]
"""(s, layer)."""


@dataclass(frozen=True)
class Lattice:
    """Which cells exist and what each chooses from.

    A cell (s, l) exists from the layer on at which s can first be reached: scale number i from layer i.

    Attributes:
        layers: L.
        scales: downsample rates, each twice the one before.
        chis: expansion ratios χ; a cell's output has χ · s · stride channels.
        branches: b, how many scales an architecture ends at.
        ops: operators of a cell.
        skip: the operator that vanishes at stride 1 and passes on the width that reached it; the last layer does not
            offer it. None where there is no such operator.
    """

    layers: int
    scales: tuple[int, ...]
    chis: tuple[int, ...]
    branches: int
    ops: tuple[str, ...]
    skip: str | None

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
        return tuple(op for op in self.ops if op != self.skip or not self.is_last(cell))

    def predecessors(self, cell: CellKey) -> tuple[bool, ...]:
        """Where the cell's input may come from: from the finer scale (True), from its own (False)."""
        s, layer = cell
        index = self.scales.index(s)
        own = layer > index or index == 0
        return ((True,) if index > 0 else ()) + ((False,) if own else ())

    def branch_sets(self) -> tuple[tuple[int, ...], ...]:
        """Every set of final scales, each fine to coarse."""
        return tuple(itertools.combinations(self.scales, self.branches))


@dataclass(frozen=True)
class Merge:
    """The operator that joins a branch's map from before its downsampling at s with what comes up from 2s.

    Attributes:
        op: its name.
        below: channels of what comes up.
        c_out: channels that it emits.
    """

    op: str
    below: int
    c_out: int


@dataclass(frozen=True)
class Frame:
    """What surrounds the cells of every architecture that ends at one set of scales.

    Attributes:
        specs: operators that depend on no choice, each as often as it runs.
        pairs: adjacent operators that depend on no choice, each as often as it occurs.
    """

    specs: tuple[OpSpec, ...]
    pairs: tuple[PairKey, ...]


@dataclass(frozen=True, kw_only=True)
class LatticeSpecs:
    """A lattice with the operators that its choices stand for, at one image size.

    Attributes:
        lattice: the cells.
        image: network's input size.
        batch: images at once.
        source: what feeds the first layer.
        last_widths: per scale, the channels that a last-layer cell emits.
        merges: per fine scale s, what a branch that downsampled at s pays in its decoder; empty without a decoder.
        consumers: per final scale, (op, stride) of what takes the final cell's output.
        frames: per branch set, the rest.
    """

    lattice: Lattice
    image: ImageSize
    batch: int
    source: OpSpec
    last_widths: Mapping[int, int]
    merges: Mapping[int, Merge]
    consumers: Mapping[int, tuple[str, int]]
    frames: Mapping[tuple[int, ...], Frame]

    def cell(self, op: str, s: int, stride: int, c_in: int, c_out: int) -> OpSpec:
        """The operator of an edge."""
        return OpSpec(op, s, c_in, c_out, stride, self.image, self.batch)

    def merge(self, s: int, side: int) -> OpSpec:
        """The decoder's operator at s where ``side`` channels reached the downsampling."""
        merge = self.merges[s]
        return OpSpec(merge.op, s, merge.below + side, merge.c_out, 1, self.image, self.batch)
