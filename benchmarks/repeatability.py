"""How well two profiles of the same operators agree, made by two processes some time apart.

Make them with

    latency-db --db FILE profile …                (an hour passes)
    latency-db --db FILE profile … --remeasure

and this compares the longest profiles of the newest two series, operator by operator: the ratios to the reference
workload (what the database answers with, times one constant), the same in ms by each run's own reference, and the plain
medians in ms of the same samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _common import publish

from backends.samples import estimate
from latency_db.rows import RunRow, SpecSeries
from latency_db.store import Store


def differences(first: dict[Any, float], second: dict[Any, float]) -> dict[str, float]:
    """|second / first − 1| over what both have."""
    both = [key for key in first if key in second]
    change = np.array([second[key] / first[key] - 1 for key in both])
    return {
        "operators": len(both),
        "median": float(np.median(np.abs(change))),
        "p95": float(np.percentile(np.abs(change), 95)),
        "worst": float(np.max(np.abs(change))),
        "mean_signed": float(np.mean(change)),
    }


def ratios(series: dict[Any, SpecSeries]) -> dict[Any, float]:
    """Estimates as the database gives them."""
    return {key: estimate(visits.ratios).value for key, visits in series.items() if visits.ratios}


def plain(series: dict[Any, SpecSeries]) -> dict[Any, float]:
    """Medians of the same samples without the reference."""
    return {key: float(np.median(visits.latencies_ms)) for key, visits in series.items()}


def profiles(store: Store, target_id: int) -> list[RunRow]:
    """The longest completed profiling run of each of the newest two series."""
    best: dict[int, RunRow] = {}
    for run in store.runs(target_id):
        if run.kind != "profile" or run.status != "completed" or run.plan.get("only") != []:
            continue
        if run.series not in best or _seconds(run) > _seconds(best[run.series]):
            best[run.series] = run
    return [best[series] for series in sorted(best)[-2:]]


def _seconds(run: RunRow) -> float:
    return (run.finished_at - run.started_at).total_seconds() if run.finished_at else 0.0


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True)
    parser.add_argument("--device")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with Store.open(options.db) as store:
        target = store.resolve_target(options.device, "ort")
        runs = profiles(store, target.id)
        if len(runs) < 2:
            parser.error("the database does not have two series of profiles: run `latency-db profile … --remeasure`")
        first, second = (store.visit_ratios(target.id, run_id=run.id) for run in runs)
    own_ms = [
        {key: value * (run.reference_ms or 0.0) for key, value in ratios(series).items()}
        for run, series in zip(runs, (first, second), strict=True)
    ]
    intervals = [estimate(visits.ratios).rel_ci for visits in second.values()]
    publish(
        {
            "benchmark": "repeatability",
            "apart_minutes": (runs[1].started_at - runs[0].started_at).total_seconds() / 60,
            "image_size": runs[1].plan["image"],
            "profile_seconds": [_seconds(run) for run in runs],
            "median_rel_ci": float(np.median(intervals)),
            "reference_ms": [run.reference_ms for run in runs],
            "paired": differences(ratios(first), ratios(second)),
            # In ms by each run's own reference: what a database that had seen only that run would answer.
            "paired_own_reference": differences(*own_ms),
            "plain": differences(plain(first), plain(second)),
        },
        options.output,
    )


if __name__ == "__main__":
    main()
