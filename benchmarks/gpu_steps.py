"""Two of the entries of `gpu_check.py`: the tests marked ``gpu``, and the torch backend's modes timed."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from _common import publish
from _turns import Silent

from backends import registry
from backends.errors import BackendError
from backends.measure import Job, Plan, measure
from backends.protocol import SettingValue, Workload
from backends.reference import reference_workload

ROOT = Path(__file__).resolve().parent.parent
PLAN = Plan(rel_ci=0.01, time_budget_s=30.0, max_rounds=30)


def run_tests() -> dict[str, Any]:
    """The tests marked ``gpu``: counts, the names of those that failed, and why others were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}"]
        code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode
        suite = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
    counts = {name: int(suite.get(name, "0")) if suite is not None else 0 for name in ("tests", "skipped")}
    cases = list(suite.iter("testcase")) if suite is not None else []
    return {
        "exit_code": code,
        **counts,
        "failed": [_name(case) for case in cases if case.find("failure") is not None or case.find("error") is not None],
        "skipped_tests": [
            {"test": _name(case), "reason": skipped.get("message", "")}
            for case in cases
            if (skipped := case.find("skipped")) is not None
        ],
    }


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}.{case.get('name')}"


def modes() -> tuple[SettingValue, ...]:
    """The torch backend's ways to run."""
    mode = registry.get("torch").settings_schema["mode"]
    return mode.choices or (mode.default,)


def time_on_device(mode: SettingValue, workload: Workload, device_type: str = "cuda") -> dict[str, Any]:
    """One workload on the torch backend, by the timing loop that profiling uses; an error is an entry, too."""
    job = Job(key=workload.name, workload=workload)
    try:
        backend = registry.create("torch", device_type=device_type, mode=mode)
        target = backend.target()
        outcome = measure(backend, [job], PLAN, Silent())
    except BackendError as error:
        return {"mode": mode, "error": str(error)}
    if outcome.failed:
        return {"mode": mode, "error": outcome.failed[workload.name]}
    found = job.estimate().scaled(outcome.reference_ms)
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


def main() -> None:
    """Do one, and write its document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("tests", "timings"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.step == "tests":
        publish({"benchmark": "gpu_tests", **run_tests()}, options.output)
    else:
        timings = [time_on_device(mode, reference_workload()) for mode in modes()]
        publish({"benchmark": "gpu_timings", "timings": timings}, options.output)


if __name__ == "__main__":
    main()
