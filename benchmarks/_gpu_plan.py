"""What `gpu_check.py` does, in which order and for how long, and what of it is complete."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ON_CUDA = ("--torch-device", "cuda")
TRT = "trt:flavour=tensorrt_rtx"
NO_DOCUMENT = "no document"
STEPS = "steps"
"""Of the folder, where what the steps of the two targets said is kept."""
TORCH = "torch:device_type=cuda,mode=cudagraph"
MIN_PEARSON, MAX_MAPE = 0.993, 0.03
"""What the predictions of the space are held to."""
MADE = "made"
"""Of a document: on what it was made, and how its command ended."""
BOUND_MISSED = (1, 2)
"""Exit codes of a command that measured all, and whose figures are not within their bounds."""

Lack = Callable[[dict[str, Any]], str | None]
"""What a document lacks that is to be complete; None: nothing."""
Identity = dict[str, Any]
"""GPU, driver, versions and commit: what is made on others is not the same."""


def nothing(document: dict[str, Any]) -> str | None:
    """A document with nothing to look for in it."""
    return None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to do, a process of its own.

    Attributes:
        name: of the entry, and of the files that it leaves.
        command: without what names its output.
        limit_s: the longest that it may take, in seconds.
        essential: it comes first.
        lacks: see :data:`Lack`.
        misses: of a document that lacks nothing, the bounds that its figures are not within. It is not done again.
        bounds: those bounds, for the document, where it does not have them itself.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float
    essential: bool = False
    lacks: Lack = nothing
    misses: Lack = nothing
    bounds: Mapping[str, float] = field(default_factory=dict)

    def output(self, folder: Path) -> Path:
        """The document that it writes."""
        return folder / f"{self.name}.json"

    def log(self, folder: Path) -> Path:
        """All else that it says."""
        return folder / f"{self.name}.log"


@dataclass(frozen=True, kw_only=True)
class State:
    """How far an entry is.

    Attributes:
        lacks: what is not complete; it is done again.
        missed: what is complete, and not within its bounds; it is not.
    """

    lacks: str | None = None
    missed: str | None = None

    @property
    def complete(self) -> bool:
        """Nothing is left to do."""
        return self.lacks is None


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


def targets_miss(document: dict[str, Any]) -> str | None:
    """Of validations: r and MAPE outside their bounds, or r where noise does not let it be told, with the figures."""
    found = []
    for one in document["targets"]:
        for validation in one["validations"]:
            r, ceiling, mape = (validation[name] for name in ("pearson", "noise_ceiling", "mape"))
            figures = f"r {_figure(r)}, noise ceiling {_figure(ceiling)}, MAPE {_figure(mape, '.2%')}"
            reasons = []
            if ceiling is None or not ceiling > MIN_PEARSON:
                reasons.append(f"whether r reaches {MIN_PEARSON:g} cannot be told from noise")
            elif r is None or not r >= MIN_PEARSON:
                reasons.append(f"r is below {MIN_PEARSON:g}")
            if mape is None or not mape <= MAX_MAPE:
                reasons.append(f"MAPE is above {MAX_MAPE:.0%}")
            if reasons:
                found.append(f"{one['backend']}, seed {validation['seed']}: {' and '.join(reasons)} ({figures})")
    return "; ".join(found) or None


def _figure(value: float | None, form: str = ".4f") -> str:
    return "unknown" if value is None else format(value, form)


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
    return "; ".join(errors) or (None if document["timings"] else "no mode was timed")


def backends_lack(document: dict[str, Any]) -> str | None:
    """Of the backends in turns: who fell out, and what was not measured. One that is not installed lacks nothing."""
    ways = [way for way in document["ways"] if "not_here" not in way]
    if not ways:
        return "no backend is here: " + "; ".join(dict.fromkeys(way["not_here"] for way in document["ways"]))
    found = [f"{way['way']} fell out: {way['fell_out']}" for way in ways if "fell_out" in way]
    found += [
        f"{way['way']}, {one.get('op') or one['network'] + ' at ' + one['image_size']}: {one['not_measured']}"
        for way in ways
        for one in (*way["operators"], *way["networks"])
        if "not_measured" in one
    ]
    return "; ".join(found) or None


def compare_lacks(document: dict[str, Any]) -> str | None:
    """Of the networks side by side: those that were not measured."""
    found = [
        f"{row['network']} at {row['image_size']}: {row['not_measured'] or 'not measured'}"
        for row in document["results"]
        if row["latency_ms"] is None
    ]
    return "; ".join(found) or (None if document["results"] else "no network was measured")


def predicted_lacks(document: dict[str, Any]) -> str | None:
    """Of single predictions: networks that were dropped."""
    found = [f"{one['name']} was dropped: {one['reason']}" for one in document["dropped"]]
    return "; ".join(found) or (None if document["networks"] else "no network was judged")


def predicted_misses(document: dict[str, Any]) -> str | None:
    """Of single predictions: how many are off by more than the bound."""
    bound, networks = document["bound"], document["networks"]
    outside = [one for one in networks if abs(one["error"]) > bound]
    if not outside:
        return None
    worst = max(outside, key=lambda one: float(abs(one["error"])))
    return (
        f"{len(outside)} of {len(networks)} networks are off by more than {bound:.0%}, most of all {worst['name']}: "
        f"predicted {worst['predicted_ms']:.3f} ms, measured {worst['measured_ms']:.3f} ms ({worst['error']:+.1%})"
    )


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
            lacks=backends_lack,
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
            lacks=compare_lacks,
        ),
        Entry(
            name="predicted_latency",
            command=_script(
                "predicted_latency.py",
                *("--backend", "torch", "--setting", "device_type=cuda", "--setting", "mode=cudagraph"),
                *("--image-size", "1024x2048", "--minutes", "5", "--db", str(folder / "two_targets.db")),
            ),
            limit_s=420,
            lacks=predicted_lacks,
            misses=predicted_misses,
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
        *("--min-pearson", str(MIN_PEARSON), "--max-mape", str(MAX_MAPE)),
        *(("--pictures", str(pictures)) if pictures else ()),
    )
    return Entry(
        name=name,
        command=command,
        limit_s=limit_s,
        essential=True,
        lacks=targets_lack,
        misses=targets_miss,
        bounds={"min_pearson": MIN_PEARSON, "max_mape": MAX_MAPE},
    )


def _camvid(folder: Path, data: Path) -> tuple[str, ...]:
    return _script(
        "train_camvid.py",
        *("--data", str(data), "--runs", str(folder / "camvid"), *ON_CUDA),
        *("--size", "360x480", "--crop", "320x416", "--epochs", "400", "--seeds", "1", "--workers", "8"),
        *("--precision", "bfloat16", "--ema", "0.999", "--validate-every", "20", "--zoo"),
        *("--picture", str(folder / "camvid.png")),
    )


def state(entry: Entry, folder: Path, on: Identity) -> State:
    """How far an entry is, by its document."""
    output = entry.output(folder)
    if not output.exists():
        return State(lacks=NO_DOCUMENT)
    try:
        document = json.loads(output.read_text(encoding="utf-8"))
    except ValueError:  # It was being written when the machine was taken away.
        put_aside(output)
        return State(lacks=NO_DOCUMENT)
    return judged(entry, document, on)


def judged(entry: Entry, document: Any, on: Identity) -> State:
    """How far an entry is whose document this is."""
    try:
        made = document[MADE]
        if made["on"] != on:
            return State(lacks="it was done on another GPU, with another driver, other versions or at another commit")
        code, how, lacks = made["exit_code"], made["how"], entry.lacks(document)
        missed = entry.misses(document) if lacks is None else None
    except (KeyError, TypeError, AttributeError) as error:
        return State(lacks=f"its document is not as it was expected: {error!r}")
    if lacks is None and code != 0 and not (missed is not None and code in BOUND_MISSED):
        lacks = how
    return State(lacks=lacks, missed=None if lacks else missed)


def sealed(entry: Entry, document: dict[str, Any], on: Identity, code: int | None, how: str) -> dict[str, Any]:
    """A document with what it was made on, how its command ended, and the verdict on its figures.

    Args:
        entry: whose it is.
        document: as its command wrote it.
        on: where.
        code: the command's exit code; None where it was stopped.
        how: the same in words.
    """
    found = {**document, MADE: {"on": on, "exit_code": code, "how": how}}
    if entry.bounds:
        now = judged(entry, found, on)
        found["verdict"] = {**entry.bounds, "lacks": now.lacks, "missed": now.missed}
    return found


def put_aside(path: Path) -> None:
    """Under another name: nobody takes it for what it was to be, and nothing is lost."""
    number = 1
    while (aside := path.with_suffix(f".unreadable-{number}")).exists():
        number += 1
    path.rename(aside)


def last_words(log: Path) -> str:
    """The last error that a log has, else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors: Sequence[str] = [line for line in lines if line.startswith("Error: ")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("Error: ")
