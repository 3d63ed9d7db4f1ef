"""Backends measured in turns, so that all of them stand in the same minutes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

from backends.errors import BackendError, CompileError
from backends.measure import Job, Plan, Progress, measure
from backends.observers import Observer
from backends.protocol import Backend, Clock, Program, Runner, Workload
from backends.reference import reference_workload
from backends.samples import Estimate, Visit


class Silent:
    """A sink that keeps nothing: the jobs keep their ratios."""

    def visited(self, key: Hashable, visit: Visit) -> None:
        """The job has it."""

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        """The outcome has it."""

    def progress(self, progress: Progress) -> None:
        """Nobody looks."""

    def round_ended(self, reference_ms: float) -> None:
        """The outcome has it."""


class _Kept(Program):
    """A program that outlives the turn: only its owner closes it."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def load(self) -> Runner:
        return self.program.load()

    def close(self) -> None:
        pass


class CompilesOnce:
    """A backend for the timing loop whose programs last from turn to turn. Compiling may take longer than a turn."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._programs: dict[str, _Kept] = {}

    @property
    def clock(self) -> Clock:
        """The backend's own."""
        return self._backend.clock

    def observers(self) -> Sequence[Observer]:
        """The backend's own."""
        return self._backend.observers()

    def compile(self, workload: Workload) -> Program:
        """As the backend does it, once."""
        if workload.name not in self._programs:
            self._programs[workload.name] = _Kept(self._backend.compile(workload))
        return self._programs[workload.name]

    def close(self) -> None:
        """Free all programs."""
        for kept in self._programs.values():
            kept.program.close()


@dataclass(kw_only=True)
class Stand:
    """One way to run the workloads, and what is known of them.

    Attributes:
        backend: what runs.
        groups: jobs that are measured by one plan.
        failed: by job, why it could not be run.
        reference_ms: one unit of ratio, in ms: the smallest of the turns', each undisturbed.
        compile_s: seconds that compiling took.
    """

    backend: CompilesOnce
    groups: Sequence[tuple[Plan, list[Job]]]
    failed: dict[Hashable, str] = field(default_factory=dict)
    reference_ms: float = math.inf
    compile_s: float = 0.0

    def compile(self) -> None:
        """Everything that is to be measured; what cannot be compiled is a failure of its own.

        Raises:
            BackendError: the reference workload cannot be compiled, or the backend cannot go on.
        """
        start = time.monotonic()
        try:
            self.backend.compile(reference_workload())
            for _, jobs in self.groups:
                for job in jobs:
                    try:
                        self.backend.compile(job.workload)
                    except CompileError as error:
                        self.failed[job.key] = str(error)
        finally:
            self.compile_s = time.monotonic() - start

    def turn(self, seconds: float, seed: int) -> None:
        """Measure for so long; every group gets an equal share, and every job at least goes on where it was."""
        for plan, jobs in self.groups:
            left = [job for job in jobs if job.key not in self.failed]
            if not left:
                continue
            share = replace(plan, time_budget_s=seconds / len(self.groups))
            outcome = measure(self.backend, left, share, Silent(), seed=seed)
            self.failed |= outcome.failed
            if not math.isnan(outcome.reference_ms):
                self.reference_ms = min(self.reference_ms, outcome.reference_ms)

    def latency(self, job: Job) -> Estimate | None:
        """In ms; None where there is no visit."""
        return job.estimate().scaled(self.reference_ms) if job.ratios else None


def take_turns(
    stands: dict[str, Stand],
    passes: int,
    seconds: float,
    *,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Pass after pass over all of them, in an order that is turned around from pass to pass.

    Args:
        stands: what is compiled already, by name.
        passes: how many.
        seconds: for all passes.
        now: seconds, monotonic; another one in tests.

    Returns:
        Those that fell out, and why.
    """
    out: dict[str, str] = {}
    end = now() + seconds
    for number in range(passes):
        order = [name for name in stands if name not in out]
        if number % 2:
            order.reverse()
        for index, name in enumerate(order):
            turns = (passes - number - 1) * len(order) + len(order) - index
            share = max(1.0, (end - now()) / turns)
            print(f"pass {number + 1} of {passes}: {name}, {share:.0f} s", file=sys.stderr, flush=True)
            try:
                stands[name].turn(share, seed=number)
            except BackendError as error:
                out[name] = str(error)
    return out
