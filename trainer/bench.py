"""One network, measured on this machine; predicted, too, where it is of the search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backends.measure import Outcome, Plan
from backends.protocol import Backend, Target
from backends.samples import Estimate
from latency_db import spaces
from latency_db.calibration import Calibration
from latency_db.campaign import Campaign
from latency_db.errors import InputError, LatencyDbError
from latency_db.keys import ImageSize
from latency_db.network_bench import bench as bench_architectures
from latency_db.predict import Prediction
from latency_db.profiling import DEFAULT_CALIBRATION_NETWORKS
from latency_db.recording import Report
from latency_db.store import Store
from latency_db.whole_networks import measure_networks, network_plan
from trainer.architecture import Architecture
from trainer.subject import SPACE, Subject, space_settings

WHAT = "bench"


class BenchError(LatencyDbError):
    """The network could not be measured."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What was found.

    Attributes:
        measured: in ms.
        predicted: None for a network that is not of the search space.
        calibration: what the prediction used.
        target: what the latencies are of.
        kept_visits: visits taken over from runs like it that were cut short.
        run_id: the run in the database.
        outcome: how measuring ended.
    """

    measured: Estimate
    predicted: Prediction | None
    calibration: Calibration | None
    target: Target
    kept_visits: int
    run_id: int
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How a network is measured.

    Attributes:
        rel_ci: half-width of the 95% interval to reach, relative.
        time_budget_s: for all of it, compiling included.
        batch: images at once.
        seed: of the order within rounds.
        stored: predict from what the database has of operators, and measure the network alone.
        calibration_networks: how many random networks to fit the calibration to; 0: predict the plain sum.
        remeasure: do not go on with a run that was cut short.
        space_settings: of the space from which those random networks are, beside what the network itself says.

    Raises:
        InputError: the interval or the time make no plan.
    """

    rel_ci: float = 0.01
    time_budget_s: float = 1200.0
    batch: int = 1
    seed: int = 0
    stored: bool = False
    calibration_networks: int = DEFAULT_CALIBRATION_NETWORKS
    remeasure: bool = False
    space_settings: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        try:
            Plan(rel_ci=self.rel_ci, time_budget_s=self.time_budget_s)
        except ValueError as error:
            raise InputError(str(error)) from None


def bench(
    store: Store,
    backend: Backend,
    subject: Subject,
    image: ImageSize,
    timing: Timing,
    *,
    device: str | None = None,
    report: Report = lambda progress: None,
) -> Bench:
    """Measure a network by the timing loop, into the database; predict it where it is of the search space.

    The operators that the prediction adds up, and random networks for its calibration, take part in the same shuffled
    rounds, unless ``timing.stored``.

    Args:
        store: where the network and all visits go.
        backend: what measures.
        subject: the network.
        image: input size.
        timing: how.
        device: slug to file it under; the backend's own name for the machine where there is none.
        report: takes the loop's progress.

    Raises:
        BenchError: it could not be measured.
        InputError: options that make no sense, or not for this network.
        PredictionError: what the prediction needs is not stored, or could not be measured.
    """
    architecture = subject.architecture
    if architecture is None:
        return _measure(store, backend, subject, image, timing, device, report)
    return _measure_and_predict(store, backend, subject, architecture, image, timing, device, report)


def _measure(
    store: Store,
    backend: Backend,
    subject: Subject,
    image: ImageSize,
    timing: Timing,
    device: str | None,
    report: Report,
) -> Bench:
    if timing.stored or timing.space_settings:
        option = "--stored" if timing.stored else "--space-setting"
        raise InputError(
            f"{option} is about predictions, and there is none for {subject.name}: it is no network of the space",
            hint="leave it out",
        )
    found = measure_networks(
        store,
        backend,
        [replace(subject.whole(image), batch=timing.batch)],
        network_plan(timing.rel_ci, timing.time_budget_s),
        what=WHAT,
        device=device,
        seed=timing.seed,
        remeasure=timing.remeasure,
        report=report,
    )
    (latency,), (reason,) = found.latencies_ms, found.reasons
    if latency is None:
        raise BenchError(f"not measured: {reason}")
    return Bench(
        measured=latency,
        predicted=None,
        calibration=None,
        target=found.target,
        kept_visits=found.kept_visits,
        run_id=found.run_id,
        outcome=found.outcome,
    )


def _measure_and_predict(
    store: Store,
    backend: Backend,
    subject: Subject,
    architecture: Architecture,
    image: ImageSize,
    timing: Timing,
    device: str | None,
    report: Report,
) -> Bench:
    space = spaces.create(SPACE, **{**space_settings(architecture), **(timing.space_settings or {})})
    campaign = Campaign(store, backend, space, image, timing.batch, device, report)
    found = bench_architectures(
        campaign,
        Plan(rel_ci=timing.rel_ci, time_budget_s=timing.time_budget_s),
        {subject.name: architecture},
        modules={subject.name: subject.build},
        stored=timing.stored,
        calibration_networks=timing.calibration_networks,
        remeasure=timing.remeasure,
        seed=timing.seed,
    )
    (judged,) = found.judged
    return Bench(
        measured=judged.measured,
        predicted=judged.predicted,
        calibration=found.calibration,
        target=campaign.target,
        kept_visits=found.kept_visits,
        run_id=found.run_id,
        outcome=found.outcome,
    )
