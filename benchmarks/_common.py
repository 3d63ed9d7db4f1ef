"""What every benchmark says beside its figures."""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backends.environment import describe


def provenance() -> dict[str, Any]:
    """Machine, versions, date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {name: value for name, value in describe().items() if name != "load_1min"},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what is installed; whatever else runs says its own version in its target."""
    found = {}
    for name in ("latency-db", "onnxruntime", "onnxruntime-gpu", "torch", "numpy", "sqlalchemy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def publish(document: dict[str, Any], output: Path | None) -> None:
    """Print the document, and write it where asked to."""
    text = json.dumps({**document, **provenance()}, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n", encoding="utf-8")


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean, and the standard deviation over the seeds; None where there is one."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else None}
