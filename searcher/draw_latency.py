"""How long the networks of draws of the whole lattice take. Plain numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latency_db.errors import InputError
from latency_db.relaxed.costs import Costs
from searcher.draws import Array, Draws, Index, Visits


class Latency:
    """What :meth:`latency_db.table.LatencyTable.predict` says of the networks of draws, to rounding, many at once.

    Args:
        costs: the table, laid out.
        finals: the scales at which the branches end; one of the lattice's branch sets, in any order.

    Raises:
        InputError: no such branch set.
    """

    def __init__(self, costs: Costs, finals: Sequence[int]) -> None:
        sets = costs.lattice.branch_sets()
        if tuple(sorted(finals)) not in sets:
            raise InputError(f"no branches {list(finals)}; there are {', '.join(map(str, sets))}")
        self.costs = costs
        self.constant = float(costs.constant[sets.index(tuple(sorted(finals)))])
        widths, n_ops = costs.inputs.widths, len(costs.lattice.ops)
        self.paired = bool(costs.inputs.producers)
        self.source = int(costs.source[:widths].argmax()), widths + 2 * n_ops
        # Slots of the producers at stride 1 and at stride 2.
        self.producer = widths, widths + n_ops
        assert costs.lattice.skip is not None
        self.skip = costs.lattice.ops.index(costs.lattice.skip)

    def __call__(self, draws: Draws, visited: Visits) -> Array:
        """(N,) ms of N draws."""
        costs, used = self.costs, visited.used
        width, producer = self.reaching(draws)
        layers, n_scales = draws.op.shape[1:]
        scale = np.arange(n_scales)
        slots = (width, producer) if self.paired else (width,)
        end = layers - 1
        op, chi = draws.op[:, :end], draws.chi[:, :end]
        cost = np.zeros(op.shape)
        final = costs.end[scale, draws.op[:, end]]
        for slot in slots:
            for stride in (0, 1):
                cost += np.where(used[:, :end, :, stride], costs.cell[scale, stride, op, chi, slot[:, :end]], 0.0)
            cost += visited.joins[:, :end] * costs.merge[scale, slot[:, :end]]
            final = final + costs.last[scale, draws.op[:, end], slot[:, end]]
        total: Array = self.constant + cost.sum((1, 2)) + np.where(used[:, end, :, 0], final, 0.0).sum(1)
        return total

    def reaching(self, draws: Draws) -> tuple[Index, Index]:
        """(N, L, S) each: the width's and the producer's slot of what reaches every cell."""
        shape = draws.op.shape
        _, layers, n_scales = shape
        width, producer = np.full(shape, self.source[0]), np.full(shape, self.source[1])
        finer = np.maximum(np.arange(n_scales) - 1, 0)
        for layer in range(1, layers):
            op, chi = draws.op[:, layer - 1], draws.chi[:, layer - 1]
            skips = op == self.skip
            down = draws.down[:, layer].astype(bool)
            width[:, layer] = np.where(down, chi[:, finer], np.where(skips, width[:, layer - 1], chi))
            own = np.where(skips, producer[:, layer - 1], self.producer[0] + op)
            producer[:, layer] = np.where(down, self.producer[1] + op[:, finer], own)
        return width, producer
