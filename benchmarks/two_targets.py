"""One space on two targets of one machine: each profiled and validated, then the two compared operator by operator.

Everything goes through the program `latency-db`, into one database. What a target's steps said is kept beside it: the
same call goes on where it was, and gives its steps anew only where their options are others. A target that fails keeps
its own words and does not stop the other. Exits 1 where something failed, or a validation missed its bounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import publish

FIGURES = (
    "pearson",
    "spearman",
    "mape",
    "bias",
    "max_error",
    "noise_ceiling",
    "spread",
    "within_5",
    "within_10",
    "networks",
    "dropped",
)
COMPARED = ("operators", "ratio", "pearson_log", "spearman_log", "ops")


class StepError(Exception):
    """A command of `latency-db` gave no document. The message is its own last line."""


@dataclass(frozen=True)
class Measured:
    """What is measured: ``BACKEND`` or ``BACKEND:NAME=VALUE,NAME=VALUE``."""

    backend: str
    settings: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, text: str) -> Measured:
        """From the command line."""
        backend, _, settings = text.partition(":")
        return cls(backend, tuple(part for part in settings.split(",") if part))

    @property
    def name(self) -> str:
        """For files."""
        return "-".join([self.backend, *(setting.replace("=", "-") for setting in self.settings)])

    @property
    def options(self) -> list[str]:
        """For `latency-db`."""
        return ["--backend", self.backend, *(word for setting in self.settings for word in ("--setting", setting))]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The commands, and where what they said is kept.

    Attributes:
        db: the database.
        folder: for reports, and documents of finished steps.
        what: options that say what is measured: space, size, device.
        space: the options of the space among them.
        bounds: the options that say what a validation has to reach.
        again: give every step, also what left nothing open.
    """

    db: str
    folder: Path
    what: tuple[str, ...]
    space: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    again: bool = False

    def profile(self, measured: Measured, budget: str) -> dict[str, Any]:
        """Every operator."""
        return self._once(
            f"{measured.name}-profile",
            ["profile", *measured.options, *self.what],
            budget,
            lambda document: document["measured"] + len(document["failed"]) == document["specs"],
        )

    def validate(self, measured: Measured, seed: int, networks: int, budget: str) -> dict[str, Any]:
        """Predicted and measured networks."""
        report = self.report(measured, seed)
        words = ["--networks", str(networks), "--seed", str(seed), "--report", str(report), *self.bounds]
        return self._once(
            f"{measured.name}-validate-{seed}",
            ["validate", *measured.options, *self.what, *words],
            budget,
            lambda document: document["dropped"] == 0,
        )

    def compare(self, a: str, b: str, image: str) -> dict[str, Any]:
        """The two targets, as they are stored now."""
        return run(self.db, ["compare-targets", a, b, *self.space, "--image-size", image])

    def report(self, measured: Measured, seed: int) -> Path:
        """Where a validation leaves its page, picture and JSON."""
        return self.folder / f"{measured.name}-{seed}"

    def _once(
        self, name: str, words: list[str], budget: str, whole: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """What a command says; or what it said where it was given before, with any budget, and left nothing open."""
        path = self.folder / f"{name}.json"
        if path.exists() and not self.again:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["words"] == words:
                return dict(kept["document"])
        document = run(self.db, [*words, "--time-budget", budget])
        if whole(document):
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"words": words, "document": document}), encoding="utf-8")
        return document


def run(db: str, words: list[str]) -> dict[str, Any]:
    """The document that a command of `latency-db` prints. Its progress goes where this program's goes.

    Raises:
        StepError: it prints none.
    """
    command = [sys.executable, "-c", "from latency_db.cli import main; main()", "--db", db, *words, "--json"]
    print("latency-db", *words, file=sys.stderr, flush=True)
    said = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as document:
        with subprocess.Popen(command, stdout=document, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                sys.stderr.write(line)
                said = line.strip() or said
        document.seek(0)
        try:
            return dict(json.load(document))
        except ValueError:
            raise StepError(said.removeprefix("Error: ") or f"exit code {process.returncode}") from None


def measure(steps: Steps, measured: Measured, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one target; ``failed`` has the words of a step that failed."""
    found: dict[str, Any] = {"backend": measured.backend, "settings": list(measured.settings), "validations": []}
    try:
        profile = steps.profile(measured, options.profile_budget)
        found |= {
            "target": profile["target"],
            "profile": {key: value for key, value in profile.items() if key not in ("target", "calibration")},
        }
        for seed in options.seeds:
            document = steps.validate(measured, seed, options.networks, options.time_budget)
            found["validations"].append(
                {
                    "seed": seed,
                    **{key: document[key] for key in FIGURES},
                    "outcome": document["verdict"]["outcome"],
                    "reasons": document["verdict"]["reasons"],
                    "calibration": document["calibration"]["method"],
                    "stopped": document["protocol"]["stopped because"],
                    "took": document["protocol"]["took"],
                }
            )
    except StepError as error:
        found["failed"] = str(error)
    return found


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--target",
        type=Measured.parse,
        action="append",
        metavar="BACKEND[:NAME=VALUE,…]",
        help="repeatable [default: ort and openvino]",
    )
    parser.add_argument("--db", default="runs/two_targets.db")
    parser.add_argument("--keep", type=Path, help="folder for what steps said [default: beside the database]")
    parser.add_argument("--device", help="slug to file both under")
    parser.add_argument("--image-size", default="256x512")
    parser.add_argument("--space-setting", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument("--calibration-networks", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--profile-budget", default="10m", help="for each target")
    parser.add_argument("--time-budget", default="10m", help="for each validation")
    parser.add_argument("--min-pearson", type=float, default=0.993, help="r that each validation has to reach")
    parser.add_argument("--max-mape", type=float, default=0.03, help="error that none may exceed, a fraction")
    parser.add_argument("--again", action="store_true", help="measure more, also where no step has left anything open")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each target's first validation")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    targets = options.target or [Measured("ort"), Measured("openvino")]
    space = [word for setting in options.space_setting for word in ("--space-setting", setting)]
    device = ["--device", options.device] if options.device else []
    what = ["--image-size", options.image_size, "--calibration-networks", str(options.calibration_networks)]
    is_file = "://" not in options.db
    if is_file:
        Path(options.db).parent.mkdir(parents=True, exist_ok=True)
    elif options.keep is None:
        parser.error("with a database that is no file, --keep names the folder for what steps said")
    steps = Steps(
        db=options.db,
        folder=options.keep or Path(options.db).with_suffix(".steps"),
        # Where the database is gone, what was said of it is nothing to go on with.
        again=options.again or (is_file and not Path(options.db).exists()),
        what=(*device, *space, *what),
        space=("--space", "fasterseg", *space),
        bounds=("--min-pearson", str(options.min_pearson), "--max-mape", str(options.max_mape)),
    )
    found = [measure(steps, measured, options) for measured in targets]
    document: dict[str, Any] = {
        "benchmark": "two_targets",
        "image_size": options.image_size,
        "space_settings": options.space_setting,
        "networks": options.networks,
        "targets": found,
    }
    stored = [one["target"] for one in found if "target" in one]
    if len(stored) == 2:
        # The database may have others of the same device and backend: of another version, or with other settings.
        a, b = (target["key"] for target in stored)
        try:
            comparison = steps.compare(a, b, options.image_size)
            document["comparison"] = {key: comparison[key] for key in COMPARED}
        except StepError as error:
            document["comparison_failed"] = str(error)
    if options.pictures is not None:
        keep_pictures(steps, [one for one, known in zip(targets, found, strict=True) if known["validations"]], options)
    publish(document, options.output)
    judged = [validation["outcome"] == "passed" for one in found for validation in one["validations"]]
    complete = "comparison" in document and not any("failed" in one for one in found)
    return 0 if complete and all(judged) else 1


def keep_pictures(steps: Steps, targets: list[Measured], options: argparse.Namespace) -> None:
    """A copy of each target's first picture."""
    options.pictures.mkdir(parents=True, exist_ok=True)
    for measured in targets:
        picture = steps.report(measured, options.seeds[0]) / "validation.png"
        shutil.copy(picture, options.pictures / f"validation-{measured.name}.png")


if __name__ == "__main__":
    sys.exit(main())
