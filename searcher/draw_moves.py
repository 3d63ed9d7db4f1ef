"""Changes of a draw that change its network: another operator, another width, another position to downsample at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from searcher.draw_likelihood import Likelihood
from searcher.draws import Draws, Index, visits

_Change = tuple[str, int | slice, int, int]
"""(part of the draw, layer, scale's number, new value)."""


def moves(draw: Draws, likelihood: Likelihood, finals: Sequence[int]) -> Draws:
    """Every draw that differs from a single one by one such change, in a fixed order."""
    found = [*_choices(draw, likelihood, finals), *_positions(draw, finals)]
    result = draw.repeat(len(found))
    for number, changes in enumerate(found):
        for part, layer, s, value in changes:
            getattr(result, part)[number, layer, s] = value
    return result


def both(around: Draws, draw: Draws, first: Index, second: Index) -> Draws:
    """Two changes at once: of the first of each pair what the second leaves as it is in ``draw``."""
    one, two = around.at(first), around.at(second)
    return Draws(
        np.where(two.op != draw.op, two.op, one.op),
        np.where(two.chi != draw.chi, two.chi, one.chi),
        np.where(two.down != draw.down, two.down, one.down),
    )


def _choices(draw: Draws, likelihood: Likelihood, finals: Sequence[int]) -> Iterator[list[_Change]]:
    batch = draw.at(None)
    visited = visits(batch.down, finals)
    wide = visited.passed[0] & ~likelihood.vanished(batch.op, visited.used)[0]
    wide[-1] = False
    for layer, s in np.argwhere(visited.passed[0]).tolist():
        for op in np.flatnonzero(np.isfinite(likelihood.op[layer, s])).tolist():
            if op != draw.op[layer, s]:
                yield [("op", layer, s, op)]
        if wide[layer, s]:
            for chi in range(likelihood.chi.shape[-1]):
                if chi != draw.chi[layer, s]:
                    yield [("chi", layer, s, chi)]


def _positions(draw: Draws, finals: Sequence[int]) -> Iterator[list[_Change]]:
    """Per branch and scale, every other layer at which it could enter the scale and still leave it where it does."""
    done = set()
    for final in finals:
        leaves, s = draw.down.shape[0], final
        for layer in reversed(range(draw.down.shape[0])):
            if not draw.down[layer, s]:
                continue
            for entry in range(s, leaves):
                # Branches that share the cells share the change.
                if entry != layer and (entry, s, leaves) not in done:
                    done.add((entry, s, leaves))
                    yield [("down", entry, s, 1), ("down", slice(entry + 1, leaves), s, 0)]
            leaves, s = layer, s - 1
