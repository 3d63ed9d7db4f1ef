"""What share of visits is flagged, what flagged visits are worth, and what looking costs.

A sample of operators is timed in shuffled rounds: on the machine as it is, beside one process that keeps a core busy,
and beside as many as there are cores. Visits are put into bands by the part of them for which a thread stood in the run
queue. A visit's error is |log(its ratio / its operator's)|, the operator's ratio being the median of its visits on the
machine as it is.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _common import publish

from backends.measure import Job, Plan, Progress, measure
from backends.observers import Observation
from backends.observers.cpu import CpuObserver
from backends.ort import OrtBackend
from backends.protocol import Workload
from backends.samples import Visit
from latency_db import spaces
from latency_db.keys import ImageSize
from latency_db.workloads import operator_workload

BANDS = (0.0, 0.01, 0.05, 0.1, 0.2, 1.0)


class Timed(CpuObserver):
    """Notes what looking costs, in seconds a visit."""

    def __init__(self) -> None:
        super().__init__()
        self.costs_s: list[float] = []

    def begin(self) -> None:
        """As the original."""
        started = time.perf_counter()
        super().begin()
        self.costs_s.append(time.perf_counter() - started)

    def end(self) -> Observation:
        """As the original."""
        started = time.perf_counter()
        found = super().end()
        self.costs_s[-1] += time.perf_counter() - started
        return found


class Watched(OrtBackend):
    """Measures as the original, watched by an observer of which the costs are noted."""

    def observers(self) -> tuple[Timed]:
        """A new one each time; the last one is kept."""
        self.observer = Timed()
        return (self.observer,)


class Kept:
    """A sink that keeps the visits and when they ended."""

    def __init__(self) -> None:
        self.visits: dict[str, list[Visit]] = defaultdict(list)
        self.ends_s: list[float] = []

    def visited(self, key: Hashable, visit: Visit) -> None:
        """Keep it."""
        self.visits[str(key)].append(visit)
        self.ends_s.append(time.perf_counter())

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        """Here a failure is an error."""
        raise RuntimeError(f"{key}: {reason}")

    def progress(self, progress: Progress) -> None:
        """Nobody watches."""

    def round_ended(self, reference_ms: float) -> None:
        """Nothing to keep."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def waited(visit: Visit) -> float:
    """The part of the visit for which a thread stood in the run queue."""
    seen = visit.observed or {}
    return float(str(seen["run_queue_longest_wait_ms"])) / float(str(seen["observed_ms"]))


def condition(workloads: list[Workload], seconds: float, beside: int) -> tuple[Kept, dict[str, Any]]:
    """Measure beside so many busy processes."""
    backend, kept = Watched(), Kept()
    jobs = [Job(key=workload.name, workload=workload) for workload in workloads]
    with busy(beside):
        measure(backend, jobs, Plan(rel_ci=1e-6, time_budget_s=seconds), kept)
    visits = [visit for one in kept.visits.values() for visit in one]
    flags = Counter(flag for visit in visits for flag in visit.flags)
    return kept, {
        "busy_processes": beside,
        "visits": len(visits),
        "flagged": {flag: count / len(visits) for flag, count in sorted(flags.items())},
        "left_out": sum(not visit.clean for visit in visits) / len(visits),
        "visit_ms": 1e3 * float(np.median(np.diff(kept.ends_s))),
        "observing_ms": 1e3 * float(np.median(backend.observer.costs_s)),
        "mean_observing_ms": 1e3 * float(np.mean(backend.observer.costs_s)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=40.0, help="per condition")
    parser.add_argument("--image-size", default="256x512")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    space = spaces.create("fasterseg")
    specs = random.Random(1).sample(list(space.specs(ImageSize.parse(options.image_size))), options.operators)
    workloads = [operator_workload(space, spec) for spec in specs]
    conditions, everything = [], []
    for beside in (0, 1, os.cpu_count() or 1):
        kept, figures = condition(workloads, options.seconds, beside)
        conditions.append(figures)
        everything.append(kept)
    truth = {name: float(np.median([visit.ratio for visit in one])) for name, one in everything[0].visits.items()}
    errors = [
        (waited(visit), abs(float(np.log(visit.ratio / truth[name]))))
        for kept in everything
        for name, one in kept.visits.items()
        for visit in one
    ]
    bands = []
    for low, high in itertools.pairwise(BANDS):
        inside = [error for share, error in errors if low <= share < high or (high == BANDS[-1] and share >= high)]
        if inside:
            bands.append(
                {"from": low, "to": high, "visits": len(inside), "median_error": float(np.median(inside))}
                | {"mean_error": float(np.mean(inside))}
            )
    publish(
        {"benchmark": "observers", "image_size": options.image_size, "operators": len(specs)}
        | {"conditions": conditions, "bands": bands},
        options.output,
    )


if __name__ == "__main__":
    main()
