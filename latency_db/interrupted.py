"""What runs that were cut short have brought already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.counting import Visited
from latency_db.rows import RunRow
from latency_db.store import Store


@dataclass(frozen=True, kw_only=True)
class Begun:
    """One network's visits.

    Attributes:
        visited: the visits' ratios.
        next_round: the number of its next visit.
    """

    visited: Visited
    next_round: int


def interrupted_visits(store: Store, target_id: int, mine: Mapping[str, object]) -> dict[int, Begun]:
    """Of every network, by its id, the visits of runs like this one that did not come to their end.

    A run that did closes the matter: those before it count no more.

    Args:
        store: the database.
        target_id: what is measured.
        mine: what the plan in a run's row says where the run is like this one.
    """
    found: dict[int, Begun] = {}
    for run in _cut_short(store.runs(target_id), mine):
        for id_, visits in store.network_visits(target_id, run_id=run.id).items():
            before = found.get(id_, Begun(visited=Visited(), next_round=0))
            more = visits.visited
            found[id_] = Begun(
                visited=Visited(before.visited.values + more.values, before.visited.clean + more.clean),
                next_round=max(before.next_round, max(visits.rounds, default=-1) + 1),
            )
    return found


def _cut_short(runs: Sequence[RunRow], mine: Mapping[str, object]) -> list[RunRow]:
    last: list[RunRow] = []
    for run in runs:
        if all(run.plan.get(name) == value for name, value in mine.items()):
            last = [] if run.status == "completed" else [*last, run]
    return last
