"""What the store gives back: frozen plain data, nothing tied to a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends.counting import Counted, Visited, counted
from backends.protocol import SettingValue, Target
from backends.samples import Visit
from latency_db.keys import ImageSize, OpSpec


@dataclass(frozen=True, kw_only=True)
class TargetRow:
    """A target and what is stored of it.

    Attributes:
        series: the highest series of its runs so far; 0 where there is none.
        reference_ms: undisturbed time of the reference workload: the least of its runs'.
        n_specs: operators with at least one latency.
        n_measurements: latencies, over all operators, series and provenances.
        provenances: of those latencies, best first.
    """

    id: int
    target: Target
    series: int
    reference_ms: float | None
    n_specs: int
    n_measurements: int
    provenances: tuple[str, ...]

    @property
    def line(self) -> str:
        """For people: everything that tells it from another target."""
        target = self.target
        settings = " ".join(f"{name}={value}" for name, value in sorted(target.settings.items()))
        what = " ".join(filter(None, (target.runtime, target.runtime_version, target.precision, settings)))
        provenances = "+".join(self.provenances) or "nothing stored"
        return f"{target.key[:8]}: {target.device} {target.backend} {what} ({provenances})"


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """A device and how many targets it has."""

    slug: str
    name: str
    targets: int


@dataclass(frozen=True, kw_only=True)
class SpecSeries:
    """The visits of one operator (or network): one series, one provenance, in the order in which they were stored.

    Attributes:
        rounds: one per visit; visits of several runs may repeat a round.
        all_ratios: one per visit; empty where the latencies were imported or predicted without samples.
        all_latencies_ms: one per visit: the plain median, or the imported or predicted value.
        clean: one per visit: whether it counts.
        created_at: of the last visit.
    """

    series: int
    rounds: tuple[int, ...]
    all_ratios: tuple[float, ...]
    all_latencies_ms: tuple[float, ...]
    clean: tuple[bool, ...]
    provenance: str
    created_at: datetime

    @property
    def ratios(self) -> tuple[float, ...]:
        """One value for each visit that counts; empty where there are no samples."""
        return counted(self.all_ratios, self.clean).values if self.all_ratios else ()

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        """One latency for each visit that counts."""
        return counted(self.all_latencies_ms, self.clean).values

    @property
    def visited(self) -> Visited:
        """All its ratios, for who goes on with it."""
        return Visited(list(self.all_ratios), list(self.clean) if self.all_ratios else [])

    def values(self, reference_ms: float | None) -> tuple[Counted, float]:
        """What its latency is estimated from: the visits that count, and what one unit of their values is in ms.

        Ratios where it was measured and the target's reference time is known, else the latencies as they are.
        """
        if self.provenance == "measured" and self.all_ratios and reference_ms is not None:
            return counted(self.all_ratios, self.clean), reference_ms
        return counted(self.all_latencies_ms, self.clean), 1.0


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """The latency of one operator on one target.

    Attributes:
        rel_ci: half-width of the 95% interval over the latency; None from fewer than two visits.
        visits: that it rests on.
        left_out: further visits, which were throttled or contended.
        flagged: fewer than two visits were clean, and it rests on all of them.
    """

    device: str
    backend: str
    runtime_version: str
    precision: str
    settings: Mapping[str, SettingValue]
    spec: OpSpec
    latency_ms: float
    rel_ci: float | None
    visits: int
    provenance: str
    left_out: int = 0
    flagged: bool = False


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run of a program that wrote latencies."""

    id: int
    target_id: int
    kind: str
    series: int
    status: str
    reason: str | None
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    reference_ms: float | None
    started_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime


@dataclass(frozen=True, kw_only=True)
class FlagCounts:
    """What is said of a run's visits.

    Attributes:
        by_flag: how many carry each flag, by its name; a visit may carry several.
        unclean: how many were throttled or contended.
    """

    by_flag: Mapping[str, int]
    unclean: int

    @property
    def line(self) -> str:
        """For people."""
        flags = ", ".join(f"{name}: {count}" for name, count in self.by_flag.items()) or "none"
        return f"{flags}; {self.unclean} throttled or contended"


@dataclass(frozen=True, kw_only=True)
class RunExtent:
    """How far a run has come, by what it has stored.

    Attributes:
        run_id: the run.
        status: one of ``schema.RunStatus``.
        visits: stored visits to operators and networks, failures among them.
        started_at: when it began.
        last_at: the last sign of it: a visit, its heartbeat or its end.
    """

    run_id: int
    status: str
    visits: int
    started_at: datetime
    last_at: datetime


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """A network of a space at one image size."""

    id: int
    space: str
    space_settings: Mapping[str, Any]
    architecture: Mapping[str, Any]
    image: ImageSize
    batch: int


@dataclass(frozen=True, kw_only=True)
class SearchRow:
    """One search for architectures.

    Attributes:
        folder: where its files are, or were.
        device: slug of the device whose latencies it used.
        target_id: the target that they are of; None where a shipped model gave them.
        target_line: for people: the target, or the model, in full.
        image: the image size of the latencies.
        batch: the images at once of the latencies.
        config: everything that decided what it did.
        status: running, completed, interrupted or failed.
        reason: why it is not completed, where that is known.
        started_at: when its first sitting began.
        epochs: finished so far, as far as it said.
    """

    id: int
    folder: str
    space: str
    space_settings: Mapping[str, Any]
    device: str
    target_id: int | None
    target_line: str
    image: ImageSize
    batch: int
    config: Mapping[str, Any]
    seed: int
    status: str
    reason: str | None
    started_at: datetime
    finished_at: datetime | None
    epochs: int


@dataclass(frozen=True, kw_only=True)
class DerivedRow:
    """A network that a search derived.

    Attributes:
        role: teacher or student.
        network_id: the architecture, of ``Store.networks``.
        branches: downsample rates at which its branches end.
        how: how it was derived, as in the search's result.
        latency_ms: predicted.
        miou: of the supernet as this network, in [0, 1]; None where it was not evaluated.
    """

    id: int
    search_id: int
    role: str
    network_id: int
    branches: tuple[int, ...]
    how: str
    latency_ms: float
    miou: float | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class RawMeasurement:
    """One stored row with its samples.

    Attributes:
        visit: None for a failure and for a value that came without samples.
        latency_ms: None for a failure.
        flags: the visit's, or those that a value without samples came with.
    """

    run_id: int
    spec: OpSpec
    series: int
    round: int
    provenance: str
    status: str
    reason: str | None
    visit: Visit | None
    latency_ms: float | None
    flags: tuple[str, ...]
    created_at: datetime
