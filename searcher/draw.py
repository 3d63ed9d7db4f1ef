"""What one forward pass of the supernet uses, and the widths that are drawn by rule."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latency_db.lattice import Lattice


@dataclass(frozen=True)
class Draw:
    """What one forward pass uses: probabilities in the layout of :class:`latency_db.relaxed.RelaxedLatency`.

    The same three tensors, given to it with ``probabilities=True``, make the latency of what was run. As there, entries
    of choices that a cell does not have are ignored.

    Attributes:
        alpha: (L, S, O), operators in the order of the lattice's ``ops``. One of weight exactly 0 does not run, and
            its entry gets no gradient.
        beta: (L, S, 2), from the finer scale (0) or from the cell's own (1). As for ``alpha``.
        gamma: (L, S, X), one-hot: the width of each cell. Where it requires gradients (straight through, as
            :func:`latency_db.relaxed.sample_widths` gives it), the outputs of a cell are multiplied by the entry
            drawn, so that it gets one.
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    def to(self, device: torch.device | str) -> Draw:
        """The same on a device."""
        return Draw(self.alpha.to(device), self.beta.to(device), self.gamma.to(device))


WidthRule = Literal["widest", "narrowest", "random"]


def fixed_widths(lattice: Lattice, rule: WidthRule, rng: random.Random | None = None) -> Tensor:
    """Widths that no γ draws, as a :class:`Draw` takes them: (L, S, X), one-hot, without gradients.

    Args:
        lattice: the cells.
        rule: the same for every cell, or uniform and independent.
        rng: draws the random ones.

    Raises:
        ValueError: random widths without ``rng``.
    """
    chis = lattice.chis
    shape = lattice.layers, len(lattice.scales)
    if rule == "random":
        if rng is None:
            raise ValueError("random widths need a source of random numbers")
        index = torch.tensor([[rng.randrange(len(chis)) for _ in range(shape[1])] for _ in range(shape[0])])
    else:
        index = torch.full(shape, chis.index(max(chis) if rule == "widest" else min(chis)))
    return nn.functional.one_hot(index, len(chis)).to(torch.get_default_dtype())
