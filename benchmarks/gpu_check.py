"""What only a CUDA device can show: the tests marked ``gpu``, and the torch backend timed on the device.

Writes ``runs/gpu_check.json`` (or ``--out``). Exits 3 where there is no CUDA device, 1 where something failed.
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


def main() -> int:
    """Check, write the JSON, and say in one line how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu_check.json", help="where the JSON goes")
    out = parser.parse_args().out
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was checked")
        return NO_DEVICE
    tests = run_tests()
    timings = [time_on_device(mode, reference_workload()) for mode in modes()]
    errors = [timing for timing in timings if "error" in timing]
    document = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "tests": tests, "timings": timings}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(
        f"{tests['tests']} tests (exit code {tests['exit_code']}), {len(timings)} timings, {len(errors)} errors: {out}"
    )
    # pytest exits 5 where no test was selected: then nothing was tested, which is no success either.
    return 1 if tests["exit_code"] or errors else 0


if __name__ == "__main__":
    sys.exit(main())
