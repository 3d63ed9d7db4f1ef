"""What each step of the measuring and of the calibration is worth, on the samples of stored validation runs.

For every completed validation run of the database (made without --stored) the same networks are predicted in several
ways from the same samples. What is fitted is fitted to the calibration networks of that run; the networks that are
judged take no part in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from _common import publish

from backends.samples import estimate
from latency_db import spaces
from latency_db.calibrate import Family, NetworkSample, fit
from latency_db.calibration import Calibration
from latency_db.correlate import agreement
from latency_db.keys import OpSpec
from latency_db.rows import RunRow, SpecSeries
from latency_db.space import Decomposition
from latency_db.store import Store

Value = Callable[[SpecSeries], float]


def paired(series: SpecSeries) -> float:
    """As the database answers: every sample divided by the reference beside it."""
    return estimate(series.ratios).value


def plain(series: SpecSeries) -> float:
    """Medians of the bare times of the same samples."""
    return float(np.median(series.latencies_ms))


def first_visit(series: SpecSeries) -> float:
    """One visit only, bare: each operator timed once, as most tables are made."""
    return series.latencies_ms[0]


class Run:
    """One validation run's samples and networks."""

    def __init__(self, store: Store, run: RunRow) -> None:
        plan = run.plan
        self.backend = next(row.target.backend for row in store.targets() if row.id == run.target_id)
        space = spaces.create(plan["space"], **plan["space_settings"])
        calibrating = set(plan["calibrating"])
        self.operators = store.visit_ratios(run.target_id)
        # Calibration networks and operators may have visits of earlier runs of the same database.
        known = store.network_visits(run.target_id)
        self.visits = {id_: known[id_] for id_ in {*store.network_visits(run.target_id, run_id=run.id), *calibrating}}
        rows = store.networks(self.visits)
        self.networks: dict[int, Decomposition] = {
            id_: space.decompose(space.from_json(row.architecture), row.image, row.batch) for id_, row in rows.items()
        }
        self.calibrating = [id_ for id_ in self.networks if id_ in calibrating]
        self.judged = [id_ for id_ in self.networks if id_ not in calibrating]

    def figures(self, value: Value, network_value: Value, family: Family | None) -> dict[str, Any]:
        """Fit and judge."""
        operators = {spec: value(series) for spec, series in self.operators.items()}
        measured = {id_: network_value(series) for id_, series in self.visits.items()}
        calibration = self.calibration(operators, measured, family)
        predicted = [self.predict(calibration, id_, operators) for id_ in self.judged]
        return {"method": calibration.method, **asdict(agreement(predicted, [measured[id_] for id_ in self.judged]))}

    def calibration(
        self, operators: Mapping[OpSpec, float], measured: Mapping[int, float], family: Family | None
    ) -> Calibration:
        """From the calibration networks alone."""
        samples = [
            NetworkSample(self.networks[id_].specs, self.networks[id_].edges, measured[id_]) for id_ in self.calibrating
        ]
        return fit(samples, operators, family=family)

    def predict(self, calibration: Calibration, id_: int, operators: Mapping[OpSpec, float]) -> float:
        """In the unit of the operators."""
        network = self.networks[id_]
        return calibration.predict(network.specs, network.edges, operators)


def ways() -> dict[str, tuple[Value, Value, Family | None]]:
    """Name → (operators' value, networks' value, calibration)."""
    found: dict[str, tuple[Value, Value, Family | None]] = {
        "each operator timed once, bare; plain sum": (first_visit, plain, "identity"),
        "shuffled rounds, bare medians; plain sum": (plain, plain, "identity"),
        "shuffled rounds, bare medians; global scale": (plain, plain, "global"),
    }
    for family in get_args(Family):
        found[f"shuffled rounds, paired with the reference; {family}"] = (paired, paired, family)
    found["shuffled rounds, paired with the reference; family chosen by cross-validation"] = (paired, paired, None)
    return found


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with Store.open(options.db) as store:
        runs = [
            Run(store, run)
            for run in store.runs()
            # A bench of one network is no comparison.
            if run.kind == "validate"
            and run.status == "completed"
            and not run.plan["stored"]
            and "what" not in run.plan
        ]
    if not runs:
        parser.error("the database has no validation run made without --stored")
    table = {name: [run.figures(*way) for run in runs] for name, way in ways().items()}
    publish(
        {
            "benchmark": "ablation",
            "runs": len(runs),
            "backends": [run.backend for run in runs],
            "ways": {n: _summary(f) for n, f in table.items()},
        },
        options.output,
    )


def _summary(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = ("pearson", "mape", "bias", "max_error")
    return {
        "methods": [one["method"] for one in figures],
        **{key: [round(float(one[key]), 5) for one in figures] for key in keys},
        **{f"mean_{key}": float(np.mean([abs(one[key]) for one in figures])) for key in ("pearson", "mape")},
    }


if __name__ == "__main__":
    main()
