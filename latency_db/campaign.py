"""One measuring run: jobs from a space, the timing loop, rows in the database. Profiling and validation share it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field

from backends import gpu_clocks
from backends.counting import Visited
from backends.environment import describe
from backends.measure import Job, Outcome, Plan, measure
from backends.protocol import Backend, Workload
from latency_db import spaces
from latency_db.errors import NotFoundError
from latency_db.keys import ImageSize, OpSpec
from latency_db.recording import JobKey, Kind, Report, StoreSink
from latency_db.rows import SpecSeries
from latency_db.space import Architecture, Decomposition, Space
from latency_db.store import Store
from latency_db.workloads import network_workload, operator_workload

CALIBRATION_SEED = "calibration"
"""Networks for fitting come from this stream of random numbers, networks for judging from another: and whatever both
streams yield is never judged."""
EXHAUSTED = 1000
"""After so many draws in a row that brought nothing new, a space has no more networks."""


@dataclass(frozen=True)
class Network:
    """A network in the database and its operators."""

    id: int
    architecture: Architecture
    decomposition: Decomposition


def stored_network(store: Store, space: Space, architecture: Architecture, image: ImageSize, batch: int = 1) -> Network:
    """The network in the database, put there if need be."""
    network_id = store.ensure_network(space.name, dict(space.settings), space.to_json(architecture), image, batch)
    return Network(network_id, architecture, space.decompose(architecture, image, batch))


def draw_networks(
    space: Space,
    network_of: Callable[[Architecture], Network],
    count: int,
    seed: str,
    exclude: Iterable[int] = (),
) -> list[Network]:
    """``count`` different random networks, none of them among ``exclude``; fewer where the space has no more.

    Args:
        space: where they come from.
        network_of: puts one into the database.
        count: how many.
        seed: of the stream of random numbers that they are drawn by.
        exclude: ids of networks to leave out.
    """
    rng = random.Random(seed)
    seen, networks = set(exclude), list[Network]()
    repeats = 0
    while len(networks) < count and repeats < EXHAUSTED:
        repeats += 1
        network = network_of(space.sample(rng))
        if network.id not in seen:
            seen.add(network.id)
            networks.append(network)
            repeats = 0
    return networks


@dataclass
class Campaign:
    """Measures operators and networks of one space, at one size, on one target.

    Attributes:
        store: where everything goes.
        backend: what measures.
        space: what is measured.
        image: input size.
        batch: images at once.
        device: slug to file it under; the backend's own name for the machine where there is none.
        report: takes the loop's progress.
        lock_clocks: graphics clock at which an NVIDIA GPU is held while it is measured, in MHz, or "default" for the
            default applications clock. Part of the target: what is measured at another clock is another latency.
    """

    store: Store
    backend: Backend
    space: Space
    image: ImageSize
    batch: int = 1
    device: str | None = None
    report: Report = field(default=lambda progress: None)
    lock_clocks: gpu_clocks.Wanted | None = None

    def __post_init__(self) -> None:
        wanted = self.lock_clocks
        self.locked_mhz = None if wanted is None else gpu_clocks.lockable_mhz(self.backend, wanted)
        self.target = gpu_clocks.at_clock(self.backend.target(self.device), self.locked_mhz)
        self.target_id = self.store.ensure_target(self.target)
        self.space_digest = spaces.digest(self.space)

    @property
    def newest_series(self) -> int:
        """The newest series of measurements of this target; 0 where there is none."""
        return self.store.newest_series(self.target_id)

    def reference_ms(self) -> float:
        """What one unit of ratio is in ms: the reference workload's undisturbed time on this target.

        Raises:
            NotFoundError: nothing was measured on this target yet.
        """
        value = self.store.reference_ms(self.target_id)
        if value is None:
            raise NotFoundError(
                f"nothing is measured on {self.target.device} with {self.target.backend} yet",
                hint=f"latency-db profile --backend {self.target.backend}",
            )
        return value

    def draw(self, count: int, seed: str, exclude: Iterable[int] = ()) -> list[Network]:
        """``count`` different random networks, none of them among ``exclude``; fewer where the space has no more."""
        return draw_networks(self.space, self.network, count, seed, exclude)

    def network(self, architecture: Architecture) -> Network:
        """The network in the database, put there if need be."""
        return stored_network(self.store, self.space, architecture, self.image, self.batch)

    def operator_jobs(self, specs: Sequence[OpSpec], *, anew: int | None = None, every: int = 1) -> dict[OpSpec, Job]:
        """A job for every operator, with the visits of its newest series.

        Args:
            specs: the operators.
            anew: take part in this series instead, and know only what is in it.
            every: as :class:`~backends.measure.Job` has it.
        """
        ids = self.store.ensure_specs(specs)
        known = self.store.visit_ratios(self.target_id, image=self.image, batch=self.batch)
        return {
            spec: self._job("operator", ids[spec], operator_workload(self.space, spec), known.get(spec), anew, every)
            for spec in specs
        }

    def network_jobs(
        self,
        networks: Sequence[Network],
        *,
        anew: int | None = None,
        stored: bool = True,
        always: bool = False,
        every: int = 1,
    ) -> dict[int, Job]:
        """A job for every network, by its id.

        Args:
            networks: the networks.
            anew: as for operators.
            stored: begin with the visits that there are; without, with none.
            always: as :class:`~backends.measure.Job` has it.
            every: likewise.
        """
        known = self.store.network_visits(self.target_id) if stored else {}
        jobs = {}
        for network in networks:
            workload = network_workload(
                self.space, network.architecture, f"network-{network.id}", self.image, self.batch
            )
            job = self._job("network", network.id, workload, known.get(network.id), anew, every)
            job.always = always
            jobs[network.id] = job
        return jobs

    def _job(
        self, kind: Kind, id_: int, workload: Workload, visits: SpecSeries | None, anew: int | None, every: int
    ) -> Job:
        if visits is not None and (visits.provenance != "measured" or anew not in (None, visits.series)):
            visits = None
        series = visits.series if visits is not None else anew or 1
        return Job(
            key=JobKey(kind, id_, series),
            workload=workload,
            visited=visits.visited if visits is not None else Visited(),
            next_round=max(visits.rounds, default=-1) + 1 if visits is not None else 0,
            every=every,
        )

    def run(
        self,
        kind: str,
        jobs: Sequence[Job],
        plan: Plan,
        *,
        seed: int,
        series: int | None = None,
        enough: Callable[[int], bool] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> tuple[int, Outcome]:
        """Measure; returns the run's id and how it ended.

        An interrupted run is marked so and keeps every visit it made.

        Args:
            kind: ``profile`` or ``validate``.
            jobs: what to measure.
            plan: when to stop.
            seed: of the order within rounds.
            series: the series that the run begins or goes on with; the target's newest where none is named. Jobs that
                go on in another one keep to theirs.
            enough: as :func:`~backends.measure.measure` has it.
            details: more for the run's row.
        """
        described = {
            "image": str(self.image),
            "batch": self.batch,
            "space": self.space.name,
            "space_settings": dict(self.space.settings),
            "seed": seed,
            **asdict(plan),
            **(details or {}),
        }
        return run_jobs(
            self.store,
            self.backend,
            self.target_id,
            kind,
            jobs,
            plan,
            seed=seed,
            series=series or max(1, self.newest_series),
            described=described,
            enough=enough,
            report=self.report,
            locked_mhz=self.locked_mhz,
        )


def run_jobs(
    store: Store,
    backend: Backend,
    target_id: int,
    kind: str,
    jobs: Sequence[Job],
    plan: Plan,
    *,
    seed: int,
    series: int,
    described: Mapping[str, object],
    enough: Callable[[int], bool] | None = None,
    report: Report,
    locked_mhz: int | None = None,
) -> tuple[int, Outcome]:
    """Measure jobs as one run of the database; returns the run's id and how it ended.

    An interrupted run is marked so and keeps every visit it made.

    Args:
        store: where the run and its visits go.
        backend: what measures.
        target_id: what it measures, in the database.
        kind: one of ``schema.RunKind``.
        jobs: what to measure; their keys are :class:`~latency_db.recording.JobKey`.
        plan: when to stop.
        seed: of the order within rounds.
        series: the run's own.
        described: all that is to be said of the run in its row.
        enough: as :func:`~backends.measure.measure` has it.
        report: takes the loop's progress.
        locked_mhz: the clock that an NVIDIA GPU is held at meanwhile.

    Raises:
        ClockError: that clock cannot be locked; then there is no run.
    """
    clocks = nullcontext() if locked_mhz is None else gpu_clocks.locked(locked_mhz)
    plan_row = described if locked_mhz is None else {**described, gpu_clocks.LOCKED_CLOCK: locked_mhz}
    with clocks, store.running(target_id, kind, series=series, plan=plan_row, environment=describe()) as run:
        sink = StoreSink(store, run.id, report)
        outcome = measure(backend, jobs, plan, sink, seed=seed, enough=enough)
        run.reason = outcome.reason
        run.reference_ms = None if math.isnan(outcome.reference_ms) else outcome.reference_ms
    return run.id, outcome
