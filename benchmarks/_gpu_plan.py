"""What `gpu_check.py` does, in which order and for how long: ten minutes are enough for the essentials."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ON_CUDA = ("--torch-device", "cuda")
TRT = "trt:flavour=tensorrt_rtx"
NO_DOCUMENT = "no document"
STEPS = "steps"
"""Of the folder, where what the steps of the two targets said is kept."""
TORCH = "torch:device_type=cuda,mode=cudagraph"

Lack = Callable[[dict[str, Any]], str | None]
"""What a document lacks that is to be complete; None: nothing."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to do, a process of its own.

    Attributes:
        name: of the entry, and of the files that it leaves.
        command: without what names its output.
        limit_s: the longest that it may take, in seconds.
        essential: it has its place in the first ten minutes.
        lacks: see :data:`Lack`.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float
    essential: bool = False
    lacks: Lack = lambda document: None

    def output(self, folder: Path) -> Path:
        """The document that it writes."""
        return folder / f"{self.name}.json"

    def log(self, folder: Path) -> Path:
        """All else that it says."""
        return folder / f"{self.name}.log"


def targets_lack(document: dict[str, Any]) -> str | None:
    """Of the space on its targets: whose words it failed by, or which operators were not reached."""
    for one in document["targets"]:
        if "failed" in one:
            return f"{one['backend']}: {one['failed']}"
        profile = one["profile"]
        missing = profile["specs"] - profile["measured"] - len(profile["failed"])
        if missing:
            return f"{one['backend']}: {missing} of {profile['specs']} operators were not reached"
        if profile["failed"]:
            first = next(iter(profile["failed"].values()))
            return f"{one['backend']}: {len(profile['failed'])} operators failed, one of them: {first}"
        dropped = sum(validation["dropped"] for validation in one["validations"])
        if dropped:
            return f"{one['backend']}: {dropped} networks were not judged"
    return document.get("comparison_failed")


def tests_lack(document: dict[str, Any]) -> str | None:
    """Of the tests: those that failed, or that none was run."""
    if document["failed"]:
        return f"{len(document['failed'])} failed: {', '.join(document['failed'])}"
    # pytest exits 5 where no test was selected: then nothing was tested, which is no success either.
    if document["exit_code"] != 0:
        return f"pytest's exit code is {document['exit_code']}"
    if document["tests"] == document["skipped"]:
        reasons = dict.fromkeys(one["reason"] for one in document["skipped_tests"])
        return f"all {document['tests']} were skipped: {'; '.join(reasons)}"
    return None


def timings_lack(document: dict[str, Any]) -> str | None:
    """Of the torch backend's modes: what they say that did not run."""
    errors = [f"{timing['mode']}: {timing['error']}" for timing in document["timings"] if "error" in timing]
    return "; ".join(errors) or None


def entries(folder: Path, camvid: Path | None = None) -> list[Entry]:
    """All of them, the essential ones first: the tests, then the space on TensorRT-RTX and on PyTorch's CUDA graphs.

    The two targets share a database and what their steps said, so the entry that compares them finds all but the
    comparison done.

    Args:
        folder: for documents, databases and pictures.
        camvid: data to train on, too.
    """
    found = [
        Entry(name="tests", command=_script("gpu_steps.py", "tests"), limit_s=90, essential=True, lacks=tests_lack),
        # An engine is compiled for every operator and every network; PyTorch only captures.
        _targets("trt", folder, TRT, budgets=("165s", "100s"), limit_s=300),
        _targets("torch", folder, TORCH, budgets=("70s", "70s"), limit_s=170),
        _targets("two_targets", folder, TRT, TORCH, budgets=("60s", "60s"), limit_s=300, pictures=folder / "pictures"),
        Entry(
            name="backends",
            command=_script(
                "every_backend.py",
                *("--on", "gpu", "--image-size", "512x1024", "--image-size", "1024x2048", "--minutes", "3"),
            ),
            limit_s=420,
        ),
        Entry(name="timings", command=_script("gpu_steps.py", "timings"), limit_s=150, lacks=timings_lack),
        Entry(
            name="compare",
            command=_script(
                "compare_networks.py",
                *("--backend", "torch", "--setting", "device_type=cuda", "--setting", "mode=cudagraph"),
                *("--minutes", "4", "--db", str(folder / "compare.db"), "--picture", str(folder / "compare.png")),
            ),
            limit_s=420,
        ),
        Entry(
            name="predicted_latency",
            command=_script(
                "predicted_latency.py",
                *("--backend", "torch", "--setting", "device_type=cuda", "--setting", "mode=cudagraph"),
                *("--image-size", "1024x2048", "--minutes", "5", "--db", str(folder / "two_targets.db")),
            ),
            limit_s=420,
        ),
        Entry(name="search_step", command=_script("search_step.py", *ON_CUDA), limit_s=600),
        Entry(
            name="search_step_bfloat16",
            command=_script("search_step.py", *ON_CUDA, "--precision", "bfloat16"),
            limit_s=600,
        ),
    ]
    if camvid is not None:
        found.append(Entry(name="camvid", command=_camvid(folder, camvid), limit_s=1800))
    return found


def _script(name: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, str(ROOT / "benchmarks" / name), *options)


def _targets(
    name: str,
    folder: Path,
    *targets: str,
    budgets: tuple[str, str],
    limit_s: float,
    pictures: Path | None = None,
) -> Entry:
    """Profile and validation of the space, each with its budget. What one entry has done, another one finds."""
    command = _script(
        "two_targets.py",
        *(word for target in targets for word in ("--target", target)),
        *("--db", str(folder / "two_targets.db"), "--keep", str(folder / STEPS)),
        *("--image-size", "1024x2048", "--networks", "60", "--calibration-networks", "12"),
        *("--profile-budget", budgets[0], "--time-budget", budgets[1]),
        *(("--pictures", str(pictures)) if pictures else ()),
    )
    return Entry(name=name, command=command, limit_s=limit_s, essential=True, lacks=targets_lack)


def _camvid(folder: Path, data: Path) -> tuple[str, ...]:
    return _script(
        "train_camvid.py",
        *("--data", str(data), "--runs", str(folder / "camvid"), *ON_CUDA),
        *("--size", "360x480", "--crop", "320x416", "--epochs", "400", "--seeds", "1", "--workers", "8"),
        *("--precision", "bfloat16", "--ema", "0.999", "--validate-every", "20", "--zoo"),
        *("--picture", str(folder / "camvid.png")),
    )


def state(entry: Entry, folder: Path) -> str | None:
    """What an entry's document lacks; None where it lacks nothing, and :data:`NO_DOCUMENT` where there is none."""
    output = entry.output(folder)
    if not output.exists():
        return NO_DOCUMENT
    try:
        return entry.lacks(json.loads(output.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError):  # It was being written when the machine was taken away.
        output.unlink()
        return NO_DOCUMENT


def last_words(log: Path) -> str:
    """The last error that a log has, else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors: Sequence[str] = [line for line in lines if line.startswith("Error: ")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("Error: ")
