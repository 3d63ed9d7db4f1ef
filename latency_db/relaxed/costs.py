"""A latency table laid out for the lattice: one small dense array per kind of cost. Plain numpy, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_db.calibration import PairKey
from latency_db.errors import InputError
from latency_db.lattice import Lattice, LatticeSpecs
from latency_db.table import LatencyTable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Inputs:
    """What can be known of the feature map that reaches a cell, one slot each.

    The first slots are widths: χ number x, and one more where the stem's width is none of the finest scale's χ · s. The
    others, which are there only if the calibration has pair terms, are its producer: each operator at stride 1, each
    at stride 2, the stem.
    """

    widths: int
    producers: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """D, the number of slots."""
        return self.widths + len(self.producers)


@dataclass(frozen=True)
class Costs:
    """All costs in ms; S scales, O operators, X widths, D slots of :class:`Inputs`, B branch sets.

    Attributes:
        lattice: what the axes count.
        inputs: what D counts.
        source: (D,) the slots that are 1 for what the stem emits.
        cell: (S, 2, O, X, D) an edge at stride 1 and at stride 2: operator, outgoing width, incoming slot.
        last: (S, O, D) a final cell.
        end: (S, O) what a final cell's operator adds with what takes its output.
        merge: (S, D) the decoder's operator at the scale of the map from before the downsampling.
        constant: (B,) what no choice changes.
    """

    lattice: Lattice
    inputs: Inputs
    source: Array
    cell: Array
    last: Array
    end: Array
    merge: Array
    constant: Array


def costs(table: LatencyTable) -> Costs:
    """Lay a table out.

    Raises:
        InputError: its space is no lattice.
        PredictionError: an operator that the lattice needs is not in the table.
    """
    specs = table.space.lattice_specs(table.image, table.batch)
    if specs is None:
        raise InputError(f"the space {table.space.name!r} is no lattice of cells: it has no relaxed latency")
    return _Layout(table, specs).costs()


class _Layout:
    def __init__(self, table: LatencyTable, specs: LatticeSpecs) -> None:
        self.table, self.specs, self.lattice = table, specs, specs.lattice
        chis, finest = self.lattice.chis, self.lattice.scales[0]
        stem = specs.source.c_out
        self.odd_stem = stem not in {chi * finest for chi in chis}
        ops = self.lattice.ops
        producers = (
            *((op, 1) for op in ops),
            *((op, 2) for op in ops),
            (specs.source.op, specs.source.stride),
        )
        self.inputs = Inputs(len(chis) + self.odd_stem, producers if table.calibration.pair_terms else ())

    def width_slots(self, s: int) -> list[tuple[int, int]]:
        """(slot, channels) of every width that can reach scale ``s``."""
        slots = [(index, chi * s) for index, chi in enumerate(self.lattice.chis)]
        if self.odd_stem and s == self.lattice.scales[0]:
            slots.append((len(slots), self.specs.source.c_out))
        return slots

    def costs(self) -> Costs:
        lattice, specs = self.lattice, self.specs
        scales, ops, n_slots = lattice.scales, lattice.ops, self.inputs.size
        cell = np.zeros((len(scales), 2, len(ops), len(lattice.chis), n_slots))
        last = np.zeros((len(scales), len(ops), n_slots))
        end = np.zeros((len(scales), len(ops)))
        merge = np.zeros((len(scales), n_slots))
        for i, s in enumerate(scales):
            for o, op in enumerate(ops):
                for stride in (1, 2):
                    if (op == lattice.skip and stride == 1) or (stride == 2 and i + 1 == len(scales)):
                        continue
                    for x, chi in enumerate(lattice.chis):
                        cell[i, stride - 1, o, x] = self.row(s, op, stride, chi * s * stride)
                if op != lattice.skip:
                    last[i, o] = self.row(s, op, 1, specs.last_widths[s])
                    end[i, o] = self.table.pair_ms(PairKey(op, 1, *specs.consumers[s], s))
            if s in specs.merges:
                merge[i] = self.merge_row(s)
        return Costs(
            lattice=lattice,
            inputs=self.inputs,
            source=self.source(),
            cell=cell,
            last=last,
            end=end,
            merge=merge,
            constant=np.array([self.constant(finals) for finals in lattice.branch_sets()]),
        )

    def row(self, s: int, op: str, stride: int, c_out: int) -> Array:
        """(D,) an operator by what comes in."""
        row = np.zeros(self.inputs.size)
        for slot, c_in in self.width_slots(s):
            row[slot] = self.table.in_network_ms[self.table.position(self.specs.cell(op, s, stride, c_in, c_out))]
        return self.with_pairs(row, op, stride, s)

    def merge_row(self, s: int) -> Array:
        row = np.zeros(self.inputs.size)
        for slot, side in self.width_slots(s):
            row[slot] = self.table.in_network_ms[self.table.position(self.specs.merge(s, side))]
        return self.with_pairs(row, self.specs.merges[s].op, 1, s)

    def with_pairs(self, row: Array, op: str, stride: int, s: int) -> Array:
        for slot, (producer, its_stride) in enumerate(self.inputs.producers, self.inputs.widths):
            row[slot] = self.table.pair_ms(PairKey(producer, its_stride, op, stride, s))
        return row

    def source(self) -> Array:
        slots = np.zeros(self.inputs.size)
        width = self.specs.source.c_out
        slots[next(slot for slot, channels in self.width_slots(self.lattice.scales[0]) if channels == width)] = 1
        if self.inputs.producers:
            slots[-1] = 1
        return slots

    def constant(self, finals: tuple[int, ...]) -> float:
        frame = self.specs.frames[finals]
        operators = sum(float(self.table.in_network_ms[self.table.position(spec)]) for spec in frame.specs)
        return operators + sum(self.table.pair_ms(pair) for pair in frame.pairs)
