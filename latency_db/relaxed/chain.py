"""The scales in use, walking back layer by layer: a Markov chain over sets of scales. Plain numpy, no torch.

At layer l the branches of an architecture use some set U of cells. Each cell in U draws its predecessor independently,
from its own scale or the finer one, so the set at layer l − 1 is the union of the draws. With n scales there are
2ⁿ − 1 sets: seven for three scales.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

FINER, OWN = 0, 1
"""Positions on β's last axis: β⁰, the cell comes from the finer scale, and β¹, from its own."""


@dataclass(frozen=True)
class Chain:
    """The chain's structure. A *move* is one joint draw of all predecessors of a set; T moves in all, V sets.

    Attributes:
        sets: of indices of scales.
        start: (T,) the set that a move starts from.
        end: (T,) and the set it leads to.
        factors: one (T,) array per scale but the finest: where in the 2S choices (all FINER, then all OWN) the move's
            factor of that scale is; the finest's OWN, which is always 1, where the set does not have that scale.
        member: (S, V) 1 where the set has the scale.
    """

    sets: tuple[tuple[int, ...], ...]
    start: Index
    end: Index
    factors: tuple[Index, ...]
    member: Array

    @classmethod
    def of(cls, n_scales: int) -> Chain:
        """For so many scales."""
        sets = tuple(
            chosen for size in range(1, n_scales + 1) for chosen in itertools.combinations(range(n_scales), size)
        )
        number = {chosen: index for index, chosen in enumerate(sets)}
        start, end, factors = [], [], []
        for chosen in sets:
            for draw in itertools.product(*((OWN,) if scale == 0 else (FINER, OWN) for scale in chosen)):
                went = {scale - (choice == FINER) for scale, choice in zip(chosen, draw, strict=True)}
                start.append(number[chosen])
                end.append(number[tuple(sorted(went))])
                choice_of = dict(zip(chosen, draw, strict=True))
                factors.append(
                    [
                        choice_of[scale] * n_scales + scale if scale in choice_of else OWN * n_scales
                        for scale in range(1, n_scales)
                    ]
                )
        return cls(
            sets=sets,
            start=np.array(start),
            end=np.array(end),
            factors=tuple(np.array(factors, dtype=np.intp).reshape(len(start), n_scales - 1).T),
            member=np.array([[float(scale in chosen) for chosen in sets] for scale in range(n_scales)]),
        )

    def number(self, chosen: tuple[int, ...]) -> int:
        """The index of a set."""
        return self.sets.index(chosen)
