"""What only a CUDA device can show: the tests marked ``gpu``, the torch backend timed, and benchmarks on it.

Writes ``runs/gpu_check.json`` (or ``--out``), and beside it what benchmarks say. What was done in an earlier call is
not done again: each benchmark has its own time, and trainings go on where they were. Exits 3 where there is no CUDA
device, 1 where something failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Hashable
from pathlib import Path

from backends import registry
from backends.errors import BackendError
from backends.measure import Job, Plan, Progress, measure
from backends.protocol import SettingValue, Workload
from backends.reference import reference_workload
from backends.samples import Visit, estimate

ROOT = Path(__file__).resolve().parent.parent
PLAN = Plan(rel_ci=0.01, time_budget_s=30.0, max_rounds=30)
NO_DEVICE = 3


class _Quiet:
    """A sink that keeps nothing: the jobs keep their ratios."""

    def visited(self, key: Hashable, visit: Visit) -> None:
        pass

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass

    def round_ended(self, reference_ms: float) -> None:
        pass


def run_tests() -> dict[str, object]:
    """The tests marked ``gpu``: counts, and the names of those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}"]
        code = subprocess.run(command, cwd=ROOT).returncode
        suite = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
    counts = {name: int(suite.get(name, "0")) if suite is not None else 0 for name in ("tests", "skipped")}
    bad = (
        [case for case in suite.iter("testcase") if case.find("failure") is not None or case.find("error") is not None]
        if suite is not None
        else []
    )
    return {"exit_code": code, **counts, "failed": [f"{case.get('classname')}.{case.get('name')}" for case in bad]}


def modes() -> tuple[SettingValue, ...]:
    """The torch backend's ways to run."""
    mode = registry.get("torch").settings_schema["mode"]
    return mode.choices or (mode.default,)


def time_on_device(mode: SettingValue, workload: Workload, device_type: str = "cuda") -> dict[str, object]:
    """One workload on the torch backend, by the timing loop that profiling uses; an error is an entry, too."""
    job = Job(key=workload.name, workload=workload)
    try:
        backend = registry.create("torch", device_type=device_type, mode=mode)
        target = backend.target()
        outcome = measure(backend, [job], PLAN, _Quiet())
    except BackendError as error:
        return {"mode": mode, "error": str(error)}
    if outcome.failed:
        return {"mode": mode, "error": outcome.failed[workload.name]}
    found = estimate(job.ratios).scaled(outcome.reference_ms)
    return {
        "mode": mode,
        "settings": backend.settings,
        "device": target.device,
        "clock": backend.clock.name,
        "workload": workload.name,
        "latency_ms": found.value,
        "rel_ci": found.rel_ci,
        "visits": found.visits,
        "stopped_by": outcome.reason,
    }


def benchmarks(folder: Path, camvid: Path | None) -> dict[str, list[str]]:
    """Benchmarks by the file that they write, each a script and its options."""
    on_cuda = ["--torch-device", "cuda"]
    found = {
        "search_step": ["search_step.py", *on_cuda],
        "search_step_bfloat16": ["search_step.py", *on_cuda, "--precision", "bfloat16"],
        "compare": ["compare_networks.py", "--backend", "torch", "--minutes", "4", "--db", str(folder / "compare.db")],
        "predicted_latency": [
            *("predicted_latency.py", "--backend", "torch", "--image-size", "1024x2048"),
            *("--minutes", "8", "--db", str(folder / "predicted.db")),
        ],
    }
    if camvid is not None:
        found["camvid"] = [
            *("train_camvid.py", "--data", str(camvid), "--runs", str(folder / "camvid"), *on_cuda),
            *("--size", "360x480", "--crop", "320x416", "--epochs", "400", "--seeds", "1", "--workers", "8"),
            *("--precision", "bfloat16", "--ema", "0.999", "--validate-every", "20", "--zoo"),
            *("--picture", str(folder / "camvid.png")),
        ]
    return found


def run_benchmarks(folder: Path, camvid: Path | None, seconds: float) -> dict[str, str]:
    """How each went: ``done``, ``done before``, or why it did not end."""
    folder.mkdir(parents=True, exist_ok=True)
    went = {}
    for name, (script, *options) in benchmarks(folder, camvid).items():
        output = folder / f"{name}.json"
        if output.exists():
            went[name] = "done before"
            continue
        command = [sys.executable, str(ROOT / "benchmarks" / script), *options, "--output", str(output)]
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=seconds).returncode
            went[name] = "done" if output.exists() else f"exit code {code}"
        except subprocess.TimeoutExpired:
            went[name] = f"not done in {seconds:.0f} s"
        print(f"{name}: {went[name]}", file=sys.stderr)
    return went


def main() -> int:
    """Check, write the JSON, and say in one line how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu_check.json", help="where the JSON goes")
    parser.add_argument("--camvid", type=Path, help="train on it, too: train/, trainannot/, val/, valannot/")
    parser.add_argument("--seconds", type=float, default=1800.0, help="the longest that one benchmark may take")
    options = parser.parse_args()
    out: Path = options.out
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was checked")
        return NO_DEVICE
    tests = run_tests()
    timings = [time_on_device(mode, reference_workload()) for mode in modes()]
    errors = [timing for timing in timings if "error" in timing]
    went = run_benchmarks(out.parent / out.stem, options.camvid, options.seconds)
    unfinished = [name for name, how in went.items() if not how.startswith("done")]
    document = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "tests": tests,
        "timings": timings,
        "benchmarks": went,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(
        f"{tests['tests']} tests (exit code {tests['exit_code']}), {len(timings)} timings, {len(errors)} errors, "
        f"{len(went)} benchmarks, {len(unfinished)} not done: {out}"
    )
    # pytest exits 5 where no test was selected: then nothing was tested, which is no success either.
    return 1 if tests["exit_code"] or errors or unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
