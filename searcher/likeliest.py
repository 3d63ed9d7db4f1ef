"""Draws in decreasing probability, every network once. Plain Python and numpy.

Two levels of the same idea, after Lawler's k best solutions. Which cells the branches pass depends on the predecessors,
so sets of *flips* come first: cells whose predecessor is not the likelier. A set is reached from the set without its
last flip, in the order in which walking back decides, and never costs less than it. For one set of flips the cells'
operators and widths are independent: the k smallest sums of one entry out of every sorted list.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from searcher.draw_likelihood import Likelihood
from searcher.draws import Draws

_Place = tuple[int, int]
"""(layer, scale's number)."""
_Option = tuple[float, int, int]
"""(loss, operator, width) of a cell."""


@dataclass(frozen=True)
class _Paths:
    """One set of flips.

    Attributes:
        loss: of the flips.
        flips: in the order of walking back.
        free: the cells with two predecessors that walking back decides after the last flip.
        lists: of every passed cell that has a choice, its options by loss, those that differ least first.
    """

    loss: float
    flips: tuple[_Place, ...]
    free: tuple[_Place, ...]
    lists: tuple[tuple[_Place, list[_Option]], ...]


_Picks = tuple[tuple[int, int], ...]
"""(list, rank) where the rank is not 0; the last is the one that goes on."""


class Likeliest:
    """Iterates over the likeliest draws of all networks, in increasing loss.

    Args:
        likelihood: the losses.
        finals: numbers of the scales at which the branches end.
    """

    def __init__(self, likelihood: Likelihood, finals: Sequence[int]) -> None:
        self.likelihood = likelihood
        self.finals = tuple(finals)
        self.layers = likelihood.mode.op.shape[0]
        self.down = likelihood.mode.down.tolist()
        self.flip_loss = likelihood.down.max(-1).tolist()
        self._options: dict[tuple[_Place, bool], list[_Option]] = {}

    def batches(self, size: int) -> Iterator[Draws]:
        """The same in batches of so many, the last one smaller."""
        found = self._networks()
        while chunk := list(islice(found, size)):
            draws = self.likelihood.mode.repeat(len(chunk))
            for number, (paths, picks) in enumerate(chunk):
                self._flip(draws, number, paths)
                for index, rank in picks:
                    place, options = paths.lists[index]
                    _, draws.op[(number, *place)], draws.chi[(number, *place)] = options[rank]
            yield draws

    def by_positions(self, limit: int) -> Draws:
        """The likeliest draws of different positions: up to so many, in increasing loss."""
        ticket = count()
        heap = [(0.0, next(ticket), self._paths(0.0, ()))]
        draws = self.likelihood.mode.repeat(limit)
        for number in range(limit):
            if not heap:
                return draws.at(slice(number))
            _, _, paths = heapq.heappop(heap)
            self._flip(draws, number, paths)
            for more in self._flipped_further(paths):
                heapq.heappush(heap, (more.loss, next(ticket), more))
        return draws

    def _flip(self, draws: Draws, number: int, paths: _Paths) -> None:
        for place in paths.flips:
            draws.down[(number, *place)] = 1 - self.down[place[0]][place[1]]

    def _flipped_further(self, paths: _Paths) -> Iterator[_Paths]:
        for place in paths.free:
            yield self._paths(paths.loss + self.flip_loss[place[0]][place[1]], (*paths.flips, place))

    def _networks(self) -> Iterator[tuple[_Paths, _Picks]]:
        # Equal losses in the order in which they were found, so that the order is one and the same every time.
        ticket = count()
        heap: list[tuple[float, int, _Paths, _Picks | None]] = []

        def push(loss: float, paths: _Paths, picks: _Picks | None) -> None:
            heapq.heappush(heap, (loss, next(ticket), paths, picks))

        first = self._paths(0.0, ())
        push(first.loss, first, None)
        while heap:
            loss, _, paths, picks = heapq.heappop(heap)
            yield paths, picks or ()
            if picks is None:
                for more in self._flipped_further(paths):
                    push(more.loss, more, None)
                if paths.lists:
                    push(loss + _gap(paths, 0), paths, ((0, 1),))
                continue
            *before, (index, rank) = picks
            options = paths.lists[index][1]
            if rank + 1 < len(options):
                push(loss + options[rank + 1][0] - options[rank][0], paths, (*before, (index, rank + 1)))
            if index + 1 < len(paths.lists):
                push(loss + _gap(paths, index + 1), paths, (*picks, (index + 1, 1)))
                if rank == 1:
                    # Instead of this list's second entry that of the next list, which differs by no less.
                    push(loss - _gap(paths, index) + _gap(paths, index + 1), paths, (*before, (index + 1, 1)))

    def _paths(self, loss: float, flips: tuple[_Place, ...]) -> _Paths:
        """Walk back with these flips."""
        strides: dict[_Place, set[int]] = {}
        open_: list[_Place] = []
        reached = {final: {0} for final in self.finals}
        for layer in reversed(range(self.layers)):
            below: dict[int, set[int]] = {}
            for s in sorted(reached, reverse=True):
                place = layer, s
                strides[place] = reached[s]
                down = self.down[layer][s]
                if place in flips:
                    down = 1 - down
                    open_.clear()
                elif self.flip_loss[layer][s] < np.inf:
                    open_.append(place)
                below.setdefault(s - down, set()).add(down)
            reached = below
        lists = [(place, self._of_cell(place, 1 in used)) for place, used in strides.items()]
        lists = sorted((one for one in lists if len(one[1]) > 1), key=lambda one: one[1][1][0])
        return _Paths(loss, flips, tuple(open_), tuple(lists))

    def _of_cell(self, place: _Place, halves: bool) -> list[_Option]:
        """The cell's operators and widths by loss; a skip that vanishes has no width to choose."""
        key = place, halves
        if key not in self._options:
            likelihood = self.likelihood
            best = int(likelihood.mode.chi[place])
            options = []
            for op, op_loss in enumerate(likelihood.op[place].tolist()):
                if op_loss == np.inf:
                    continue
                if place[0] == self.layers - 1 or (op == likelihood.skip and not halves):
                    options.append((op_loss, op, best))
                else:
                    options += [(op_loss + loss, op, chi) for chi, loss in enumerate(likelihood.chi[place].tolist())]
            mode = int(likelihood.mode.op[place]), best
            self._options[key] = sorted(options, key=lambda option: (option[0], option[1:] != mode))
        return self._options[key]


def _gap(paths: _Paths, index: int) -> float:
    """What the second entry of a list costs more than its first."""
    return paths.lists[index][1][1][0]
