"""Make the device model of the GTX 1080 Ti that comes with the package, and say how good it is.

Reads the latency table that FasterSeg's authors published (``latency_lookup_table.npy``) and fits a model to all of it
but the skips at stride 1, which time an identity. Then:

- networks: random architectures at 1024×2048, the sum over the model against the sum over the table.
- unseen: the same, every operator predicted by a model that was fitted without it (ten folds over all operators). What
  a model only repeats stays as it is in the table.
- left out: models that were fitted without some widths, or without one scale, judged on those.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _common import publish

from latency_db.device_model import DeviceModel, fit
from latency_db.importers import fasterseg
from latency_db.keys import ImageSize, OpSpec
from searcher.space import FasterSegSpace

IMAGE = ImageSize(1024, 2048)
NETWORKS = 1000
FOLDS = 10
SEED = 0
Latencies = Mapping[OpSpec, float]


def read(path: Path) -> dict[OpSpec, float]:
    """The table's operators in ms, without those that time an identity."""
    return {
        spec: row.latency_ms
        for row in fasterseg.read(path)
        if fasterseg.IDENTITY not in row.reading.flags
        for spec in row.reading.specs
    }


def fit_to(latencies_ms: Latencies, source: str) -> DeviceModel:
    """The model of these operators."""
    return fit(latencies_ms, device=fasterseg.DEVICE, fitted_to=source, seed=SEED)


def network_figures(table: Latencies, predicted: Latencies) -> dict[str, float]:
    """How sums over random architectures agree."""
    space, rng = FasterSegSpace(), random.Random(SEED)
    networks = [space.decompose(space.sample(rng), IMAGE).specs for _ in range(NETWORKS)]
    actual = np.array([sum(table[spec] for spec in specs) for specs in networks])
    model = np.array([sum(predicted[spec] for spec in specs) for specs in networks])
    errors = model / actual - 1
    return {
        "networks": NETWORKS,
        "mean_ms": float(np.mean(actual)),
        "spread": float(np.std(actual) / np.mean(actual)),
        "mape": float(np.mean(np.abs(errors))),
        "bias": float(np.mean(errors)),
        "worst": float(np.max(np.abs(errors))),
        "pearson": float(np.corrcoef(model, actual)[0, 1]),
    }


def unseen(table: Latencies, model: DeviceModel) -> dict[OpSpec, float]:
    """Every operator that the model has coefficients for, predicted by one that was fitted without it."""
    repeated = {spec for kind in model.kinds for spec in kind.rows}
    judged = sorted(spec for spec in table if spec not in repeated)
    random.Random(SEED).shuffle(judged)
    found = {spec: table[spec] for spec in repeated}
    for fold in range(FOLDS):
        held_out = set(judged[fold::FOLDS])
        other = fit_to({spec: value for spec, value in table.items() if spec not in held_out}, "a fold")
        found |= {spec: other.latency_ms(spec, extrapolate=True) for spec in held_out}
    return found


def left_out(table: Latencies, model: DeviceModel, belongs: Callable[[OpSpec], bool]) -> dict[str, float]:
    """Errors on operators that a model was fitted without."""
    repeated = {spec for kind in model.kinds for spec in kind.rows}
    judged = [spec for spec in table if spec not in repeated and belongs(spec)]
    other = fit_to({spec: value for spec, value in table.items() if spec not in judged}, "a part")
    errors = [abs(other.latency_ms(spec, extrapolate=True) / table[spec] - 1) for spec in judged]
    return {"n": len(errors), "median": float(np.median(errors)), "mean": float(np.mean(errors))}


def main() -> None:
    """Fit, judge, write the model, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="latency_lookup_table.npy as published")
    parser.add_argument("--output", type=Path, required=True, help="where the model goes")
    options = parser.parse_args()
    table = read(options.table)
    digest = hashlib.sha256(options.table.read_bytes()).hexdigest()
    source = (
        f"{len(table)} operators of FasterSeg's published latency table (MIT), TensorRT 5.1.5, float32; "
        f"SHA-256 of the file {digest}"
    )
    model = fit_to(table, source)
    text = json.dumps(model.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    predicted = {spec: model.latency_ms(spec) for spec in table}
    kinds: list[dict[str, Any]] = [
        {
            "kind": kind.name,
            "form": kind.form,
            "n": kind.n,
            "repeated": len(kind.rows),
            "coefficients": len(kind.inside.coefficients) if kind.inside else 0,
            "cv_median": kind.errors.median if kind.errors else None,
            "cv_mean": kind.errors.mean if kind.errors else None,
            "cv_half_width_95": kind.errors.half_width_95 if kind.errors else None,
        }
        for kind in model.kinds
    ]
    publish(
        {
            "benchmark": "fit_1080ti",
            "operators": len(table),
            "bytes": len(text.encode()),
            "versions_of_the_fit": dict(model.versions),
            "kinds": kinds,
            "networks": network_figures(table, predicted),
            "unseen": network_figures(table, unseen(table, model)),
            "left_out": {
                "widths of χ = 6 and 10, in or out": left_out(
                    table, model, lambda spec: bool({spec.chi_in, spec.chi_out} & {6, 10})
                ),
                "s = 32": left_out(table, model, lambda spec: spec.s == 32),
                "s = 8": left_out(table, model, lambda spec: spec.s == 8),
            },
        },
        None,
    )


if __name__ == "__main__":
    main()
