"""How noisy is this machine now? The reference workload alone, again and again, for a few seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from backends.protocol import Backend
from backends.reference import reference_workload

WARMUP = 3


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What the reference workload's times looked like.

    Attributes:
        samples: how many runs.
        undisturbed_ms: their 10th percentile.
        median_ms: their median.
        p95_ms: their 95th percentile.
        spread: coefficient of variation.
        disturbed: share of runs more than 20% above the undisturbed time.
        clock: what timed them.
        clock_resolution_ms: the smallest difference that it showed.
    """

    samples: int
    undisturbed_ms: float
    median_ms: float
    p95_ms: float
    spread: float
    disturbed: float
    clock: str
    clock_resolution_ms: float


def listen(backend: Backend, seconds: float) -> Noise:
    """Run the reference workload for ``seconds``."""
    program = backend.compile(reference_workload())
    try:
        runner = program.load()
        try:
            times: list[float] = []
            steps: list[float] = []
            clock = backend.clock
            for _ in range(WARMUP):
                runner.run()
            end = time.monotonic() + seconds
            while time.monotonic() < end or not times:
                clock.start()
                runner.run()
                times.append(clock.stop())
                clock.start()
                steps.append(clock.stop())
        finally:
            runner.close()
    finally:
        program.close()
    low, median, high = (float(value) for value in np.percentile(times, (10, 50, 95)))
    positive = [step for step in steps if step > 0]
    return Noise(
        samples=len(times),
        undisturbed_ms=low,
        median_ms=median,
        p95_ms=high,
        spread=float(np.std(times) / np.mean(times)),
        disturbed=float(np.mean(np.asarray(times) > 1.2 * low)),
        clock=clock.name,
        clock_resolution_ms=min(positive) if positive else 0.0,
    )
