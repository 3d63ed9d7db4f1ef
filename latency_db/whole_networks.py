"""Networks measured end to end side by side, whatever they are made of: of a space, or of anyone's making."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from backends.counting import Visited
from backends.measure import Job, Outcome, Plan
from backends.protocol import Backend, Target, Workload
from backends.samples import Estimate
from latency_db.campaign import run_jobs
from latency_db.interrupted import Begun, interrupted_visits
from latency_db.keys import ImageSize
from latency_db.recording import JobKey, Report
from latency_db.store import Store

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class WholeNetwork:
    """A network at one image size, as the database has it.

    Attributes:
        name: for people.
        space: the search space that it is of; a word of its own where it is of none. No reader takes rows of a space
            that it did not ask for.
        settings: of the space, or whatever else tells it from networks of the same document. JSON values.
        document: the network as JSON values.
        image: input size.
        batch: images at once.
        build: makes the module, in eval mode, with the same weights each time.
    """

    name: str
    space: str
    settings: Mapping[str, Any]
    document: Mapping[str, Any]
    image: ImageSize
    batch: int = 1
    build: Callable[[], nn.Module]

    def workload(self) -> Workload:
        """What runs."""
        return Workload(
            name=f"{self.name} at {self.image}",
            build=self.build,
            input_shapes=((self.batch, 3, self.image.height, self.image.width),),
        )


@dataclass(frozen=True, kw_only=True)
class MeasuredNetworks:
    """What a run found.

    Attributes:
        latencies_ms: in the order of the networks; None for one that was not measured.
        reasons: in the order of the networks; why it was not measured, None where it was.
        kept_visits: visits taken over from runs like it that were cut short.
        run_id: the run.
        outcome: how it ended.
        target: what the latencies are of.
    """

    latencies_ms: tuple[Estimate | None, ...]
    reasons: tuple[str | None, ...]
    kept_visits: int
    run_id: int
    outcome: Outcome
    target: Target


def network_plan(rel_ci: float, time_budget_s: float) -> Plan:
    """When measuring stops, and what a visit consists of, where whole networks alone are measured.

    They take from milliseconds to many seconds, and at a second a run the shares of a visit that do not depend on
    chance (two runs to warm up, for the runtime plans its memory in the first) are most of it: two samples are enough
    for a network that is slow, and up to eight are taken of one that is quick.

    Args:
        rel_ci: half-width of the 95% interval to reach, relative.
        time_budget_s: for all of it, compiling included.

    Raises:
        ValueError: figures that make no plan.
    """
    return Plan(rel_ci=rel_ci, time_budget_s=time_budget_s, visit_ms=300.0, min_samples=2)


def measure_networks(
    store: Store,
    backend: Backend,
    networks: Sequence[WholeNetwork],
    plan: Plan,
    *,
    what: str,
    device: str | None = None,
    seed: int = 0,
    remeasure: bool = False,
    report: Report = lambda progress: None,
) -> MeasuredNetworks:
    """Measure networks, of any image sizes, in shuffled rounds of one run.

    Goes on with a run of the same networks that was cut short; whatever other runs found is not looked at. Two networks
    that the database does not tell apart are measured once.

    Args:
        store: where the networks and their visits go.
        backend: what measures.
        networks: what is measured.
        plan: when to stop.
        what: what the run is for, in a word; only runs for the same are gone on with.
        device: slug to file it under; the backend's own name for the machine where there is none.
        seed: of the order within rounds.
        remeasure: do not go on with a run that was cut short.
        report: takes the loop's progress.
    """
    target = backend.target(device)
    target_id = store.ensure_target(target)
    ids = [store.ensure_network(one.space, one.settings, one.document, one.image, one.batch) for one in networks]
    mine = {"what": what, "whole_networks": sorted(set(ids))}
    begun = {} if remeasure else interrupted_visits(store, target_id, mine)
    jobs = {id_: _job(id_, one, begun.get(id_)) for id_, one in zip(ids, networks, strict=True)}
    # Counted now: the loop adds its own to them.
    kept = {id_: len(job.visited) for id_, job in jobs.items()}
    run_id, outcome = run_jobs(
        store,
        backend,
        target_id,
        "profile",
        list(jobs.values()),
        plan,
        seed=seed,
        series=max(1, store.newest_series(target_id)),
        described={**mine, "seed": seed, **asdict(plan)},
        report=report,
    )
    unit_ms = store.reference_ms(target_id)
    latencies = {
        id_: job.estimate().scaled(unit_ms) if job.ratios and unit_ms is not None else None for id_, job in jobs.items()
    }
    return MeasuredNetworks(
        latencies_ms=tuple(latencies[id_] for id_ in ids),
        reasons=tuple(
            None if latencies[id_] else outcome.failed.get(jobs[id_].key, "time was up before its turn") for id_ in ids
        ),
        kept_visits=sum(kept.values()),
        run_id=run_id,
        outcome=outcome,
        target=target,
    )


def _job(id_: int, network: WholeNetwork, begun: Begun | None) -> Job:
    return Job(
        key=JobKey("network", id_),
        workload=network.workload(),
        visited=begun.visited if begun else Visited(),
        next_round=begun.next_round if begun else 0,
    )
