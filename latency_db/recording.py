"""Between the timing loop and the database: every visit is stored when the loop goes on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from backends.measure import Progress
from backends.samples import Visit
from latency_db.store import Store

Report = Callable[[Progress], None]
Kind = Literal["operator", "network"]


@dataclass(frozen=True)
class JobKey:
    """What the timing loop knows a job by: a row of the database, and the series that its visits go to."""

    kind: Kind
    id: int
    series: int = 1


def key_of(key: Hashable) -> JobKey:
    """The loop hands keys back as it got them; here they are always ours."""
    assert isinstance(key, JobKey)
    return key


class StoreSink:
    """Writes visits and failures of one run, one transaction each, so that a killed run loses none it reported."""

    def __init__(self, store: Store, run_id: int, report: Report) -> None:
        self.store, self.run_id, self.report = store, run_id, report

    def visited(self, key: Hashable, visit: Visit) -> None:
        """Store the visit."""
        job = key_of(key)
        self.store.add_visits(self.run_id, [(job.id, visit)], network=job.kind == "network", series=job.series)

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        """Store the failure."""
        job = key_of(key)
        self.store.add_failure(self.run_id, job.id, round_number, reason, network=job.kind == "network")

    def progress(self, progress: Progress) -> None:
        """Pass it on."""
        self.report(progress)

    def round_ended(self, reference_ms: float) -> None:
        """Keep the reference's undisturbed time with the run."""
        self.store.heartbeat(self.run_id, reference_ms)
