"""How likely draws of the whole lattice are. Plain numpy, but for the logits."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latency_db.errors import InputError
from searcher.draws import Array, Draws, Index, Mask, Visits
from searcher.lattice import FasterSegLattice


class Likelihood:
    """How likely draws are, against the likeliest of all.

    The loss of a choice is log p of the cell's likeliest choice − log p of this one, p being the softmax over the
    choices that the cell has. A draw's loss is the sum over the cells that its branches pass: all others count as at
    their likeliest, as does the width of a skip that vanishes. So the loss says how much less likely the network's
    likeliest draw is than the likeliest draw of all, and no network gains by passing fewer cells.

    Args:
        alpha: (L, S, O) logits.
        beta: (L, S, 2) logits, from the finer scale (0) or from the cell's own (1).
        gamma: (L, S, X) logits.
        lattice: the cells.

    Attributes:
        mode: (L, S) the likeliest draw, among equals the first: its network is :func:`searcher.derive.walk_back`'s.
        mode_log_probability: log p of all its choices.
        op: (L, S, O) losses; ∞ where an operator is not offered.
        chi: (L, S, X) losses; 0 in the last layer.
        down: (L, S, 2) losses, indexed by :attr:`Draws.down`; ∞ where there is no such predecessor.

    Raises:
        InputError: a shape that is not the lattice's, or a logit that is no finite number.
    """

    def __init__(self, alpha: Tensor, beta: Tensor, gamma: Tensor, lattice: FasterSegLattice) -> None:
        shape = lattice.layers, len(lattice.scales)
        self.skip = lattice.ops.index("skip")
        exists = np.zeros(shape, dtype=bool)
        offered = np.ones((*shape, len(lattice.ops)), dtype=bool)
        # The finer scale first, as in β: among equals it is the one that walking back takes.
        predecessors = np.zeros((*shape, 2), dtype=bool)
        predecessors[..., 1] = True
        for cell in lattice.cells():
            place = cell[1], lattice.scales.index(cell[0])
            exists[place] = True
            offered[place] = [op in lattice.operators(cell) for op in lattice.ops]
            predecessors[place] = [finer in lattice.predecessors(cell) for finer in (True, False)]
        wide = np.zeros((*shape, len(lattice.chis)), dtype=bool)
        wide[:-1] = True
        self.op, op_best = _losses("alpha", alpha, offered, exists)
        beta_loss, down_best = _losses("beta", beta, predecessors, exists)
        self.chi, chi_best = _losses("gamma", gamma, wide, exists)
        self.down = beta_loss[..., ::-1]
        self.mode = Draws(self.op.argmin(-1), self.chi.argmin(-1), 1 - beta_loss.argmin(-1))
        self.mode_log_probability = op_best + down_best + chi_best

    def vanished(self, op: Index, used: Mask) -> Mask:
        """(N, L, S) skips that are used at stride 1 alone."""
        return (op == self.skip) & ~used[..., 1]

    def losses(self, draws: Draws, visited: Visits) -> Array:
        """(N,) of N draws."""
        layers, n_scales = draws.op.shape[1:]
        at = np.arange(layers)[:, None], np.arange(n_scales)
        loss = self.op[(*at, draws.op)] + self.down[(*at, draws.down)]
        loss += np.where(self.vanished(draws.op, visited.used), 0.0, self.chi[(*at, draws.chi)])
        total: Array = np.where(visited.passed, loss, 0.0).sum((1, 2))
        return total

    def normal(self, draws: Draws, visited: Visits) -> Draws:
        """The likeliest draws of the same networks."""
        result = draws.where(visited.passed, self.mode)
        free = self.vanished(result.op, visited.used)
        return Draws(result.op, np.where(free, self.mode.chi, result.chi), result.down)


def _losses(name: str, logits: Tensor, is_open: Mask, exists: Mask) -> tuple[Array, float]:
    """The losses, and the sum over all cells of the best choice's log probability."""
    values = logits.detach().cpu().double().numpy()
    if values.shape != is_open.shape:
        raise InputError(f"{name} has shape {values.shape}, not {is_open.shape}")
    # Where there is nothing to choose, what stands there is ignored.
    choice = is_open & (exists & (is_open.sum(-1) > 1))[..., None]
    wrong = np.argwhere(choice & ~np.isfinite(values))
    if len(wrong):
        raise InputError(f"{name} of layer {wrong[0][0]}, scale number {wrong[0][1]} is no finite number")
    values = np.where(choice, values, 0.0)
    is_open = is_open | ~is_open.any(-1, keepdims=True)
    loss = np.where(is_open, np.where(is_open, values, -np.inf).max(-1, keepdims=True) - values, np.inf)
    best = np.where(choice.any(-1), -np.log(np.exp(-loss).sum(-1)), 0.0)
    return loss, float(best.sum())
