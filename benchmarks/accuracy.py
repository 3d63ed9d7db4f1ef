"""Three validations with different seeds, one after the other: does every one of them reach the bounds?

Each is a process of its own, `latency-db validate`, with networks of its own, none of which took part in any fit.
Nothing is dropped by hand. Afterwards `ablation.py` says what each step was worth on the same samples.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from _common import publish

KEYS = (
    "pearson",
    "noise_ceiling",
    "spearman",
    "mape",
    "bias",
    "max_error",
    "within_5",
    "slope",
    "intercept",
    "spread",
    "networks",
    "dropped",
)


def validate(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run; its figures."""
    program = Path(sys.executable).with_name("latency-db")
    command = [str(program), "--db", options.db, "validate", "--json"]
    command += ["--networks", str(options.networks), "--image-size", options.image_size, "--seed", str(seed)]
    command += ["--time-budget", options.time_budget]
    if options.stored:
        command.append("--stored")
    if options.report is not None:
        command += ["--report", str(options.report / f"seed-{seed}")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    document = json.loads(done.stdout)
    return {
        "seed": seed,
        **{key: document[key] for key in KEYS},
        "calibration": document["calibration"]["method"],
        "stopped": document["protocol"]["stopped because"],
        "took": document["protocol"]["took"],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", default="accuracy.db")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--image-size", default="256x512")
    parser.add_argument("--time-budget", default="20m")
    parser.add_argument("--stored", action="store_true", help="predict from what the database already has")
    parser.add_argument("--report", type=Path, help="folder for the reports")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        runs.append(validate(options, seed))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    publish(
        {"benchmark": "accuracy", "image_size": options.image_size, "stored": options.stored, "runs": runs},
        options.output,
    )


if __name__ == "__main__":
    main()
