"""Latency tables for tests, made of random numbers."""

from __future__ import annotations

import numpy as np

from latency_db.calibration import Calibration, PairKey
from latency_db.keys import ImageSize
from latency_db.space import Space
from latency_db.table import LatencyTable

IMAGE = ImageSize(256, 512)


def random_calibration(ops: set[str], rng: np.random.Generator) -> Calibration:
    """Every kind of term for every pair of names."""
    return Calibration(
        method="pair",
        cv_error=0.01,
        networks=24,
        global_scale=0.9,
        boundary_ratio=0.2,
        op_scales={op: float(rng.uniform(0.8, 1.2)) for op in sorted(ops)},
        pair_terms={
            PairKey(op, stride, next_op, next_stride, s): float(rng.normal(scale=0.05))
            for op in sorted(ops)
            for next_op in sorted(ops)
            for stride in (1, 2)
            for next_stride in (1, 2)
            for s in (2, 4, 8, 16, 32)
        },
    )


def random_table(space: Space, *, seed: int = 0, calibrated: bool = True, image: ImageSize = IMAGE) -> LatencyTable:
    """Every operator of the space has a latency of its own, and with ``calibrated`` every pair a term."""
    rng = np.random.default_rng(seed)
    specs = tuple(space.specs(image))
    return LatencyTable(
        device="random",
        target="random numbers",
        space=space,
        image=image,
        batch=1,
        specs=specs,
        latencies_ms=rng.uniform(0.05, 2.0, len(specs)),
        rel_ci=np.full(len(specs), 0.01),
        provenance=("measured",) * len(specs),
        calibration=random_calibration({spec.op for spec in specs}, rng) if calibrated else Calibration.identity(),
        reference_ms=1.7,
    )
