"""Two ways to time the same operators, side by side: this project's rounds, and six seconds of each in turn.

The paper warms a network up and runs it for six seconds. Here a sample of operators is timed that way (the mean of all
runs in six seconds, one operator after the other), and by the shuffled rounds with the reference workload beside each
sample, which get far less time. Both are done twice, in turns; what counts is how well the second agrees with the
first.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from _common import publish

from backends import registry
from backends.measure import Job, Plan, Progress, measure
from backends.protocol import Backend, Workload
from backends.samples import Visit, estimate
from latency_db import spaces
from latency_db.keys import ImageSize
from latency_db.workloads import operator_workload


class Silent:
    """A sink that keeps nothing."""

    def visited(self, key: Hashable, visit: Visit) -> None:
        """The job has the ratio."""

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        """Here a failure is an error."""
        raise RuntimeError(f"{key}: {reason}")

    def progress(self, progress: Progress) -> None:
        """Nobody watches."""

    def round_ended(self, reference_ms: float) -> None:
        """Nothing to keep."""


def in_turn(backend: Backend, workloads: list[Workload], seconds: float) -> dict[str, float]:
    """The mean time of all runs within ``seconds``, operator after operator, in ms."""
    found = {}
    for workload in workloads:
        program = backend.compile(workload)
        runner = program.load()
        for _ in range(10):
            runner.run()
        clock = backend.clock
        times, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            clock.start()
            runner.run()
            times.append(clock.stop())
        runner.close()
        program.close()
        found[workload.name] = float(np.mean(times))
    return found


def in_rounds(backend: Backend, workloads: list[Workload], seconds: float, seed: int) -> dict[str, float]:
    """Shuffled rounds: ratios to the reference."""
    jobs = [Job(key=workload.name, workload=workload) for workload in workloads]
    plan = Plan(rel_ci=1e-6, time_budget_s=seconds)
    measure(backend, jobs, plan, Silent(), seed=seed)
    return {str(job.key): estimate(job.ratios).value for job in jobs}


def disagreement(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """|second / first − 1|."""
    change = np.array([abs(second[key] / first[key] - 1) for key in first])
    return {"median": float(np.median(change)), "worst": float(np.max(change))}


def main() -> None:
    """Time both twice and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=6.0, help="per operator, in turn")
    parser.add_argument("--round-seconds", type=float, default=1.4, help="per operator, in rounds")
    parser.add_argument("--image-size", default="256x512")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    backend = registry.create("ort")
    space = spaces.create("fasterseg")
    specs = random.Random(0).sample(list(space.specs(ImageSize.parse(options.image_size))), options.operators)
    workloads = [operator_workload(space, spec) for spec in specs]
    budget = options.round_seconds * len(workloads)
    results: dict[str, list[dict[str, float]]] = {"in_turn": [], "in_rounds": []}
    for repetition in range(2):
        results["in_turn"].append(in_turn(backend, workloads, options.seconds))
        results["in_rounds"].append(in_rounds(backend, workloads, budget, repetition))
    document: dict[str, Any] = {
        "benchmark": "protocols",
        "operators": [workload.name for workload in workloads],
        "image_size": options.image_size,
        "in_turn": {"seconds_per_operator": options.seconds, **disagreement(*results["in_turn"])},
        "in_rounds": {"seconds_per_operator": options.round_seconds, **disagreement(*results["in_rounds"])},
        "whole_space_minutes": {
            name: round(len(space.specs(ImageSize.parse(options.image_size))) * seconds / 60, 1)
            for name, seconds in (("in_turn", options.seconds), ("in_rounds", options.round_seconds))
        },
    }
    publish(document, options.output)


if __name__ == "__main__":
    main()
