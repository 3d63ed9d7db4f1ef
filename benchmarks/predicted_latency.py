"""Predicted against measured latency of fasterseg-student, of architectures that you name, and of random networks.

Each architecture is a JSON file, as a search writes it, or a built-in name. All are measured in one run of
`latency-db validate`, in the same shuffled rounds as the operators that their predictions add up; none of them takes
part in the fit of the calibration. What is asked for is that each is within `--bound` of its measurement.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _common import publish

from backends.measure import Plan
from latency_db import spaces
from latency_db.campaign import Campaign
from latency_db.cli.architecture import read_architecture
from latency_db.cli.common import ProgressLine, make_backend
from latency_db.keys import ImageSize
from latency_db.store import Store
from latency_db.validation import Validation, validate

STUDENT = "fasterseg-student"
TIGHT = 0.99999


def result(validation: Validation, bound: float) -> dict[str, Any]:
    """Every network with its error, and what they come to."""
    errors = [one.predicted.latency_ms / one.measured.value - 1 for one in validation.judged]
    networks = [
        {
            "name": one.name,
            "random": not one.named,
            "predicted_ms": one.predicted.latency_ms,
            "measured_ms": one.measured.value,
            "measured_rel_ci": one.measured.rel_ci if one.measured.visits > 1 else None,
            "visits": one.measured.visits,
            "error": error,
        }
        for one, error in zip(validation.judged, errors, strict=True)
    ]
    return {
        "networks": networks,
        "dropped": [{"name": name, "reason": reason} for name, reason in validation.dropped],
        "bound": bound,
        "within_bound": sum(abs(error) <= bound for error in errors),
        "all_within_bound": not validation.dropped and all(abs(error) <= bound for error in errors),
        "agreement": asdict(validation.agreement),
        "calibration": {"method": validation.calibration.method, "networks": validation.calibration.networks},
        "rounds": validation.outcome.rounds,
        "visits": validation.outcome.visits,
        "elapsed_s": validation.outcome.elapsed_s,
        "stopped": validation.outcome.reason,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", metavar="ARCH", help=f"beside {STUDENT}")
    parser.add_argument("--backend", default="ort")
    parser.add_argument("--threads", type=int, help="[default: the backend's, 1]")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE", help="of the backend")
    parser.add_argument("--image-size", type=ImageSize.parse, default=ImageSize(512, 1024))
    parser.add_argument("--networks", type=int, default=10, help="random ones")
    parser.add_argument("--calibration-networks", type=int, default=24)
    parser.add_argument("--rel-ci", type=float, default=0.01)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--bound", type=float, default=0.05, help="largest error that is within it, a fraction")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--db", help="keep what is measured here; the same call then finds operators in it")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    space = spaces.create("fasterseg")
    names = list(dict.fromkeys([STUDENT, *options.architectures]))
    named = {name: read_architecture(name, space.builtin(), space.from_json) for name in names}
    backend = make_backend(options.backend, options.threads, tuple(options.setting))
    plan = Plan(rel_ci=options.rel_ci, time_budget_s=60 * options.minutes)
    with ExitStack() as stack:
        url = options.db or str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "predicted.db")
        campaign = Campaign(
            stack.enter_context(Store.open(url)), backend, space, options.image_size, report=ProgressLine()
        )
        validation = validate(
            campaign,
            plan,
            networks=options.networks,
            named=named,
            seed=options.seed,
            calibration_networks=options.calibration_networks,
            # Single networks are judged here, not a correlation: measuring goes on until each is known, or time is up.
            min_pearson=TIGHT,
        )
        target = campaign.target
    document = result(validation, options.bound)
    publish(
        {
            "benchmark": "predicted_latency",
            "device": target.device,
            "backend": target.backend,
            "settings": dict(target.settings),
            "image_size": str(options.image_size),
            "rel_ci": options.rel_ci,
            "seed": options.seed,
            **document,
        },
        options.output,
    )
    sys.exit(0 if document["all_within_bound"] else 1)


if __name__ == "__main__":
    main()
