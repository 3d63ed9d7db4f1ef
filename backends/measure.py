"""The one timing loop.

Rounds over all jobs in shuffled order, never one job at a time: the machine drifts, and rounds average the drift out
and make it visible. Each visit loads its program anew, because where the memory of one loading happens to lie is worth
several percent and would otherwise look like precision; warms it up; and takes samples, each of which has the reference
workload just before and just after it. At most one job and the reference are loaded at any time, so idle thread pools
cannot disturb what is timed.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from backends.compiling import compile_errors
from backends.counting import Visited
from backends.errors import CompileError
from backends.observers import Observer, merged
from backends.protocol import Clock, Program, Runner, Workload
from backends.reference import reference_workload
from backends.samples import Estimate, Visit, estimate_of

UNDISTURBED_PERCENTILE = 10
DISTURBED = 1.2
NOISY = 0.1
REFERENCE_VISITS = 16
REFERENCE_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When to stop, and what one visit consists of.

    Attributes:
        rel_ci: a job is done when the half-width of its 95% interval is at most this part of its value.
        time_budget_s: for the whole call, compiling included.
        min_rounds: clean visits that a job gets before its interval is believed.
        max_rounds: visits that no job exceeds.
        sample_ms: one sample repeats the job until it lasts about this long …
        visit_ms: … and a visit's samples about this long, within the next two bounds. Many short visits beat few long
            ones: operators differ more from loading to loading than the samples of one loading can tell.
        min_samples: fewest samples of a visit.
        max_samples: most samples of a visit.
        warmup: untimed runs after loading.
    """

    rel_ci: float = 0.01
    time_budget_s: float = 600.0
    min_rounds: int = 5
    max_rounds: int = 1000
    sample_ms: float = 2.0
    visit_ms: float = 18.0
    min_samples: int = 4
    max_samples: int = 8
    warmup: int = 2

    def __post_init__(self) -> None:
        if self.time_budget_s <= 0:
            raise ValueError("the time budget is not positive")
        if not 0 < self.rel_ci < 1:
            raise ValueError("the relative confidence interval is not between 0 and 1")
        if self.min_rounds < 2 or self.max_rounds < self.min_rounds:
            raise ValueError("rounds: at least 2, and no fewer at most than at least")


@dataclass(kw_only=True)
class Job:
    """Something to time, and the visits that it has.

    Attributes:
        key: what the sink knows it by.
        workload: what runs.
        visited: one ratio per visit so far, earlier calls' included.
        next_round: the number of its next visit.
        always: measure it in every round, however tight its interval is.
        every: once it has its first few visits, measure it in every so many-th round only.
        failed: it could not be run, and is not visited any more.
    """

    key: Hashable
    workload: Workload
    visited: Visited = field(default_factory=Visited)
    next_round: int = 0
    always: bool = False
    every: int = 1
    failed: bool = False

    @property
    def ratios(self) -> tuple[float, ...]:
        """One value for each visit that counts."""
        return self.visited.counted.values

    def estimate(self) -> Estimate:
        """What the visits that count say.

        Raises:
            ValueError: there is none.
        """
        return estimate_of(self.visited.counted)

    def is_known(self, plan: Plan) -> bool:
        """Whether it has the clean visits, and the narrow interval, that the plan asks for.

        One whose visits were all throttled or contended never is: it is visited as long as there is time.
        """
        found = self.visited.counted
        if found.flagged or len(found.values) < plan.min_rounds:
            return False
        return estimate_of(found).rel_ci <= plan.rel_ci


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the loop is: for a progress line."""

    round: int
    visit: int
    visits: int
    done: int
    jobs: int
    failed: int
    elapsed_s: float
    left_s: float


class Sink(Protocol):
    """Takes what the loop finds, as it finds it."""

    def visited(self, key: Hashable, visit: Visit) -> None:
        """One more visit. What it has stored when it returns is safe."""

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        """This job cannot be run; the others go on."""

    def progress(self, progress: Progress) -> None:
        """Called after every visit."""

    def round_ended(self, reference_ms: float) -> None:
        """Called after every round with the reference's undisturbed time so far."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the loop ended.

    Attributes:
        reason: ``confident`` (every job tight, or the caller's own condition met), ``time`` or ``rounds``.
        rounds: completed rounds.
        visits: visits made.
        reference_ms: the reference's undisturbed time: the 10th percentile of all its times here; NaN without a visit.
        elapsed_s: how long it took.
        failed: jobs that could not be run, with the reason.
        wide: jobs whose interval is still wider than asked for.
    """

    reason: str
    rounds: int
    visits: int
    reference_ms: float
    elapsed_s: float
    failed: dict[Hashable, str]
    wide: tuple[Hashable, ...]


class Measurable(Protocol):
    """What the loop needs of a backend."""

    @property
    def clock(self) -> Clock:
        """As :class:`~backends.protocol.Backend` has it; so do the others."""

    def observers(self) -> Sequence[Observer]:
        """Who looks at the device."""

    def compile(self, workload: Workload) -> Program:
        """A program."""


class _Loop:
    def __init__(
        self,
        backend: Measurable,
        jobs: Sequence[Job],
        plan: Plan,
        sink: Sink,
        seed: int,
        enough: Callable[[int], bool] | None,
        now: Callable[[], float],
    ) -> None:
        self.backend, self.jobs, self.plan, self.sink = backend, list(jobs), plan, sink
        self.seed, self.enough, self.now = seed, enough, now
        self.programs: dict[Hashable, Program] = {}
        self.failed: dict[Hashable, str] = {}
        self.reference_times: list[float] = []
        self.unclean_reference_times: list[float] = []
        self.visits = 0
        self.tight = {job.key for job in self.jobs if job.is_known(plan)}
        self.started = now()
        self.reference = backend.compile(reference_workload())
        # After what may fail: from here on whoever made the loop closes it.
        self.observers = backend.observers()
        self.reference_runner: Runner | None = None
        self.reference_is_cold = True
        # As of the last full round: a percentile of all times at every visit would cost more than the visit.
        self.undisturbed_ms = math.nan

    # Which jobs are left, and when it is over.

    def active(self) -> list[Job]:
        return [job for job in self.jobs if job.key not in self.failed and (job.always or self.wants_more(job))]

    def wants_more(self, job: Job) -> bool:
        return job.key not in self.tight and len(job.visited) < self.plan.max_rounds

    def is_due(self, job: Job, rounds: int) -> bool:
        return rounds % job.every == 0 or len(job.visited) < self.plan.min_rounds

    def wide(self) -> tuple[Hashable, ...]:
        return tuple(job.key for job in self.jobs if job.key not in self.failed and job.key not in self.tight)

    def over_time(self) -> bool:
        return self.now() - self.started >= self.plan.time_budget_s

    def run(self) -> Outcome:
        rounds, reason = 0, ""
        while jobs := self.active():
            if rounds >= self.plan.max_rounds:
                reason = "rounds"
                break
            random.Random(f"{self.seed}/{rounds}").shuffle(jobs)
            if rounds == 0:
                # An earlier call may have ended within a round: whom it did not reach come first, else a call that is
                # cut short again and again would visit the same few for ever.
                jobs.sort(key=lambda job: len(job.visited))
            if not self.round(rounds, [job for job in jobs if self.is_due(job, rounds)] or jobs):
                reason = "time"
                break
            rounds += 1
            self.tell_reference()
            if self.enough is not None and self.enough(rounds):
                reason = "confident"
                break
            if self.over_time() and self.active():
                reason = "time"
                break
        self.tell_reference()
        wide = self.wide()
        return Outcome(
            # Where nothing cut it short, no job was left: each is tight, or has had all its rounds.
            reason=reason or ("rounds" if wide else "confident"),
            rounds=rounds,
            visits=self.visits,
            reference_ms=self.undisturbed() if self.visits else math.nan,
            elapsed_s=self.now() - self.started,
            failed=dict(self.failed),
            wide=wide,
        )

    def round(self, number: int, jobs: Sequence[Job]) -> bool:
        """Visit every job once; False where time ran out first."""
        for index, job in enumerate(jobs):
            if self.over_time():
                return False
            self.attempt(job)
            self.sink.progress(self.where(number, index + 1, len(jobs)))
        return True

    def where(self, number: int, visit: int, visits: int) -> Progress:
        elapsed = self.now() - self.started
        return Progress(
            round=number,
            visit=visit,
            visits=visits,
            done=len(self.tight),
            jobs=len(self.jobs),
            failed=len(self.failed),
            elapsed_s=elapsed,
            left_s=max(0.0, self.plan.time_budget_s - elapsed),
        )

    def tell_reference(self) -> None:
        # In a round in which every job failed, the reference did not run.
        if self.visits:
            self.undisturbed_ms = self.undisturbed()
            self.sink.round_ended(self.undisturbed_ms)

    def undisturbed(self) -> float:
        """Of the visits that count; of all, where none of them does."""
        return float(np.percentile(self.reference_times or self.unclean_reference_times, UNDISTURBED_PERCENTILE))

    # One visit.

    def attempt(self, job: Job) -> None:
        """A visit; a job that cannot be run becomes a failure, which is data, and the loop goes on."""
        reference = self.loaded_reference()
        try:
            if job.key not in self.programs:
                self.programs[job.key] = self.backend.compile(job.workload)
            runner = self.programs[job.key].load()
        except CompileError as error:
            self.fail(job, error)
            return
        try:
            with _no_garbage_collection():
                with compile_errors(job.workload.name):
                    run_ms = _warm_up(self.backend.clock, runner, self.plan.warmup)
                visit = self.visit(job, runner, run_ms, reference)
        except CompileError as error:
            self.fail(job, error)
            return
        finally:
            runner.close()
        self.visits += 1
        job.next_round += 1
        job.visited.add(visit.ratio, visit.clean)
        (self.tight.add if job.is_known(self.plan) else self.tight.discard)(job.key)
        self.sink.visited(job.key, visit)

    def fail(self, job: Job, error: CompileError) -> None:
        job.failed = True
        self.failed[job.key] = str(error)
        self.sink.failed(job.key, job.next_round, str(error))

    def loaded_reference(self) -> Runner:
        """The reference, loaded anew every few visits: where its memory lies must not be the same for a whole run."""
        if self.reference_runner is not None and self.visits % REFERENCE_VISITS == 0:
            self.reference_runner.close()
            self.reference_runner = None
        if self.reference_runner is None:
            self.reference_runner = self.reference.load()
            self.reference_is_cold = True
        return self.reference_runner

    def visit(self, job: Job, runner: Runner, run_ms: float, reference: Runner) -> Visit:
        clock, plan = self.backend.clock, self.plan
        # Before the reference warms up: whatever looking leaves behind in the caches, no sample sees.
        for observer in self.observers:
            observer.begin()
        # Where it ran in the visit before, once is enough to have it back in cache.
        reference_ms = _warm_up(clock, reference, plan.warmup if self.reference_is_cold else 1)
        self.reference_is_cold = False
        repeats = _repeats(plan.sample_ms, run_ms)
        # Beside a long sample a short look at the machine would be most of the noise.
        beside = _repeats(max(plan.sample_ms, REFERENCE_SHARE * repeats * run_ms), reference_ms)
        pair_ms = repeats * run_ms + beside * reference_ms
        samples = min(plan.max_samples, max(plan.min_samples, round(plan.visit_ms / pair_ms)))
        references = [_time(clock, reference, beside)]
        elapsed = []
        for _ in range(samples):
            elapsed.append(_time(clock, runner, repeats))
            references.append(_time(clock, reference, beside))
        seen = merged(observer.end() for observer in self.observers)
        visit = Visit(
            round=job.next_round,
            elapsed_ms=tuple(elapsed),
            reference_ms=tuple(references),
            repeats=repeats,
            warmup=plan.warmup,
            observed=seen.values if self.observers else None,
            flags=seen.flags,
        )
        (self.reference_times if visit.clean else self.unclean_reference_times).extend(references)
        if math.isnan(self.undisturbed_ms):
            self.undisturbed_ms = self.undisturbed()
        return replace(visit, flags=(*self.flags(visit), *seen.flags))

    def flags(self, visit: Visit) -> tuple[str, ...]:
        flags = []
        if np.median(visit.reference_ms) > DISTURBED * self.undisturbed_ms:
            flags.append("disturbed")
        if np.median(np.abs(visit.ratios / visit.ratio - 1)) > NOISY:
            flags.append("noisy")
        return tuple(flags)

    def close(self) -> None:
        for observer in self.observers:
            observer.close()
        for program in self.programs.values():
            program.close()
        if self.reference_runner is not None:
            self.reference_runner.close()
        self.reference.close()


def _time(clock: Clock, runner: Runner, repeats: int) -> float:
    """Milliseconds per run of ``repeats`` runs back to back."""
    clock.start()
    for _ in range(repeats):
        runner.run()
    return clock.stop() / repeats


def _warm_up(clock: Clock, runner: Runner, runs: int) -> float:
    """Run until warm; the last run's time in ms."""
    elapsed = 0.0
    for _ in range(max(1, runs)):
        elapsed = _time(clock, runner, 1)
    return elapsed


def _repeats(sample_ms: float, run_ms: float) -> int:
    return max(1, math.ceil(sample_ms / run_ms - 0.5)) if run_ms > 0 else 1


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The collector would otherwise run inside a sample now and then."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def measure(
    backend: Measurable,
    jobs: Sequence[Job],
    plan: Plan,
    sink: Sink,
    *,
    seed: int = 0,
    enough: Callable[[int], bool] | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Time jobs in shuffled rounds until each is known well enough or time is up.

    Args:
        backend: runs and times.
        jobs: what to time; what they have ``visited`` grows.
        plan: when to stop.
        sink: takes every visit as it is made, so that an interrupted call loses nothing.
        seed: of the order within rounds.
        enough: asked after every round (with the number of rounds so far); True ends the loop as ``confident``.
        now: seconds, monotonic; another one in tests.

    Raises:
        CompileError: the reference workload itself cannot be compiled here.
    """
    loop = _Loop(backend, jobs, plan, sink, seed, enough, now)
    try:
        return loop.run()
    finally:
        loop.close()
