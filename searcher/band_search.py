"""The search behind :mod:`searcher.band`: in decreasing probability, then along μ, then locally. Plain numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from searcher.draw_latency import Latency
from searcher.draw_likelihood import Likelihood
from searcher.draw_moves import both, moves
from searcher.draws import Array, Draws, Mask, visits
from searcher.likeliest import Likeliest

CHUNK = 512
"""Networks at once."""
SMALLEST = 1e-12
"""A gain below it is rounding."""
LARGEST_MU = 1e6
"""In 1/ms: beyond it nothing but the latency counts."""
HALVINGS = 12
STARTS = 4
"""How many draws, of different positions, are followed."""
IMPROVED = 2
"""How many of the networks that each meets in the band are improved."""
POSITIONS = 2000
"""How many sets of positions are looked at where nothing was found in the band."""
BATCH = 8192
"""Pairs of changes at once, where only their probabilities are asked for."""

Objective = Callable[[Array, Array], Array]
"""(losses, latencies) → what is to be small."""


@dataclass(frozen=True)
class Band:
    """From low to high, in ms."""

    low: float
    high: float

    @classmethod
    def around(cls, low_ms: float, high_ms: float) -> Band:
        """With room for rounding: one latency, added up in two orders, is one latency."""
        return cls(low_ms * (1 - 1e-9), high_ms * (1 + 1e-9))

    def holds(self, latencies: Array) -> Mask:
        """(N,) which of them lie inside."""
        return (latencies >= self.low) & (latencies <= self.high)

    def distance(self, latencies: Array) -> Array:
        """(N,) ms to the band; 0 inside."""
        return np.maximum(0.0, np.maximum(self.low - latencies, latencies - self.high))


class BandSearch:
    """One search.

    Args:
        likelihood: what draws lose.
        latency: what their networks take.
        finals: numbers of the scales at which the branches end.
        band: where the latency is to be.

    Attributes:
        seen: how many networks were looked at.
        fastest_ms: the lowest latency among them.
        slowest_ms: the highest.
    """

    def __init__(self, likelihood: Likelihood, latency: Latency, finals: Sequence[int], band: Band) -> None:
        self.likelihood, self.latency, self.finals, self.band = likelihood, latency, tuple(finals), band
        self.networks = Likeliest(likelihood, self.finals)
        self.seen, self.fastest_ms, self.slowest_ms = 0, math.inf, -math.inf
        # The best of every batch that had any in the band: the starts of the local search.
        self.inside: list[tuple[float, int, Draws]] = []

    def run(self, budget: int) -> tuple[Draws | None, bool]:
        """The best draw in the band, or None; and whether that is proven."""
        found, exhausted = self._in_order(budget)
        if found is not None or exhausted:
            return found, True
        improved = [*self._improved(self._follow, self._starts(STARTS))]
        if not improved:
            improved = [*self._improved(self._approach, self._nearest(STARTS))]
        if not improved:
            return None, False
        best = min(improved, key=self.loss_of)
        # Nothing is more probable than the likeliest draw, which others may equal.
        return best, self.loss_of(best) <= 0

    def _improved(self, search: Callable[[Draws], None], starts: Iterable[Draws]) -> Iterator[Draws]:
        """What the search from each start met in the band, the best of it improved."""
        for start in starts:
            self.inside.clear()
            search(start)
            for _, _, draw in sorted(self.inside, key=lambda one: one[:2])[:IMPROVED]:
                yield self._improve(draw)

    def loss_of(self, draw: Draws) -> float:
        """Of a single draw."""
        batch = draw.at(None)
        return float(self.likelihood.losses(batch, visits(batch.down, self.finals))[0])

    def _rate(self, draws: Draws) -> tuple[Array, Array]:
        """Losses and latencies (N,); remembers the best in the band."""
        visited = visits(draws.down, self.finals)
        losses, latencies = self.likelihood.losses(draws, visited), self.latency(draws, visited)
        self.seen += len(draws)
        self.fastest_ms = min(self.fastest_ms, float(latencies.min()))
        self.slowest_ms = max(self.slowest_ms, float(latencies.max()))
        inside = self.band.holds(latencies)
        if inside.any():
            best = int(np.where(inside, losses, np.inf).argmin())
            self.inside.append((float(losses[best]), len(self.inside), self._normal(draws.at(best))))
        return losses, latencies

    def _normal(self, draw: Draws) -> Draws:
        """What a single draw's branches do not pass, at its likeliest."""
        batch = draw.at(None)
        return self.likelihood.normal(batch, visits(batch.down, self.finals)).at(0)

    def _in_order(self, budget: int) -> tuple[Draws | None, bool]:
        """The first in the band, in decreasing probability; and whether there were no more networks."""
        left = budget
        for draws in self.networks.batches(CHUNK):
            _, latencies = self._rate(draws)
            inside = np.flatnonzero(self.band.holds(latencies))
            if len(inside):
                return draws.at(int(inside[0])), False
            left -= len(draws)
            if left <= 0:
                return None, False
        return None, True

    def _descend(self, draw: Draws, objective: Objective) -> tuple[Draws, float]:
        """The steepest way down by single changes; the draw and its latency."""
        losses, latencies = self._rate(draw.at(None))
        value, latency = float(objective(losses, latencies)[0]), float(latencies[0])
        while True:
            around = moves(draw, self.likelihood, self.finals)
            losses, latencies = self._rate(around)
            values = objective(losses, latencies)
            best = int(values.argmin())
            if not values[best] < value - SMALLEST:
                return draw, latency
            value, latency, draw = float(values[best]), float(latencies[best]), self._normal(around.at(best))

    def _starts(self, count: int) -> Iterator[Draws]:
        """The likeliest draws of different positions."""
        draws = self.networks.by_positions(count)
        return (draws.at(number) for number in range(len(draws)))

    def _nearest(self, count: int) -> Iterator[Draws]:
        """Draws that have one operator and one width throughout, nearest to the band."""
        positions = self.networks.by_positions(POSITIONS)
        rated: list[tuple[float, int, Draws]] = []
        for op, chi in np.ndindex(self.likelihood.op.shape[-1], self.likelihood.chi.shape[-1]):
            offered = np.isfinite(self.likelihood.op[..., op])
            ops = np.where(offered, op, self.likelihood.mode.op)
            draws = Draws(*np.broadcast_arrays(ops[None], np.full_like(ops, chi)[None], positions.down))
            for start in range(0, len(draws), CHUNK):
                chunk = draws.at(slice(start, start + CHUNK))
                distance = self.band.distance(self._rate(chunk)[1])
                rated.append((float(distance.min()), len(rated), chunk.at(int(distance.argmin()))))
        return (draw for _, _, draw in sorted(rated, key=lambda one: one[:2])[:count])

    def _follow(self, draw: Draws) -> None:
        """Let μ grow from 0 until the latency crosses the band, then halve between."""
        _, latencies = self._rate(draw.at(None))
        sign = 1.0 if latencies[0] > self.band.high else -1.0

        def at(mu: float, start: Draws) -> tuple[Draws, bool]:
            """The best draw, and whether it is in the band or beyond."""
            end, latency = self._descend(start, lambda losses, latencies: losses + sign * mu * latencies)
            return end, latency <= self.band.high if sign > 0 else latency >= self.band.low

        low, high = 0.0, 0.25
        while high <= LARGEST_MU:
            end, crossed = at(high, draw)
            if crossed:
                break
            low, high, draw = high, 2 * high, end
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            end, crossed = at(middle, draw)
            if crossed:
                high = middle
            else:
                low, draw = middle, end

    def _approach(self, draw: Draws) -> None:
        """Look for any network in the band: towards it by single changes, where none helps by two at a time."""
        going = True
        while going and not self.inside:
            draw, latency = self._descend(draw, lambda _, latencies: self.band.distance(latencies))
            nearest, going = float(self.band.distance(np.array([latency]))[0]), False
            around = moves(draw, self.likelihood, self.finals)
            first, second = np.triu_indices(len(around), 1)
            for start in range(0, len(first), CHUNK):
                chunk = both(around, draw, first[start : start + CHUNK], second[start : start + CHUNK])
                distance = self.band.distance(self._rate(chunk)[1])
                if distance.min() < nearest - SMALLEST:
                    draw, going = self._normal(chunk.at(int(distance.argmin()))), True
                    break

    def _improve(self, draw: Draws) -> Draws:
        """Raise the probability inside the band by single changes and, where none does, by two at a time."""

        def loss_inside(losses: Array, latencies: Array) -> Array:
            return np.where(self.band.holds(latencies), losses, np.inf)

        while True:
            draw, _ = self._descend(draw, loss_inside)
            better = self._better_pair(draw)
            if better is None:
                return draw
            draw = better

    def _better_pair(self, draw: Draws) -> Draws | None:
        """The most probable draw in the band that is two changes away and more probable than this one."""
        around = moves(draw, self.likelihood, self.finals)
        first, second = np.triu_indices(len(around), 1)
        losses = np.concatenate(
            [
                self._losses(both(around, draw, first[start : start + BATCH], second[start : start + BATCH]))
                for start in range(0, len(first), BATCH)
            ]
        )
        better = np.flatnonzero(losses < self.loss_of(draw) - SMALLEST)
        better = better[losses[better].argsort(kind="stable")]
        for start in range(0, len(better), CHUNK):
            which = better[start : start + CHUNK]
            chunk = both(around, draw, first[which], second[which])
            inside = np.flatnonzero(self.band.holds(self._rate(chunk)[1]))
            if len(inside):
                return self._normal(chunk.at(int(inside[0])))
        return None

    def _losses(self, draws: Draws) -> Array:
        return self.likelihood.losses(draws, visits(draws.down, self.finals))
