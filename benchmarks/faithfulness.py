"""The paper's claims about latency, from the table that its authors published: `--table FILE` is your copy of it.

The student of Table 7 by their sums and by right ones, and the sensitivities of Table 2 by an exact expectation.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import publish

from latency_db.importers import fasterseg
from latency_db.keys import ImageSize
from latency_db.relaxed import Sensitivity, sensitivity
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.space import FasterSegSpace
from trainer.architecture import Architecture
from trainer.builtin import FASTERSEG_STUDENT, FASTERSEG_STUDENT_32_8

IMAGE = ImageSize(1024, 2048)
MEASURED_FPS = 163.9
"""The student end to end (section 4.3 of the paper)."""
STORED_MS = {"32+16": 6.4139770511337, "32+8": 6.2604673918222}
"""What their search stored with its result."""
PAPER = {"delta_operator_ms": 10.42, "delta_downsample_ms": 0.01, "delta_expansion_ms": 5.54}
"""Table 2."""
MISTAKEN = {"zoomed_conv_x2": "conv_x2"}
"""Whose latency their lookup gave for whose."""


def load(path: Path) -> LatencyTable:
    """The published table as one of ours."""
    with tempfile.TemporaryDirectory() as folder, Store.open(str(Path(folder) / "table.db")) as store:
        fasterseg.load(store, path, fasterseg.DEVICE)
        return LatencyTable.load(device=fasterseg.DEVICE, space=FasterSegSpace(), image=IMAGE, store=store)


def as_looked_up(table: LatencyTable, mistaken: Mapping[str, str]) -> LatencyTable:
    """The table as the published code read it: some operators have the latency of another."""
    latencies = table.latencies_ms.copy()
    for index, spec in enumerate(table.specs):
        if spec.op in mistaken:
            latencies[index] = table.latencies_ms[table.position(replace(spec, op=mistaken[spec.op]))]
    return replace(table, latencies_ms=latencies)


def sum_ms(table: LatencyTable, architecture: Architecture) -> float:
    """The predicted latency."""
    return table.predict(table.space.decompose(architecture, IMAGE)).latency_ms


def axes(found: Sensitivity) -> dict[str, Any]:
    """The three deltas and the weights that balance them."""
    w1, w2, w3 = found.weights
    return {**{name: getattr(found, name) for name in PAPER}, "w1": w1, "w2": w2, "w3": w3}


def figures(path: Path) -> dict[str, Any]:
    """Everything the page states."""
    table = load(path)
    wrong = as_looked_up(table, MISTAKEN)
    measured_ms = 1e3 / MEASURED_FPS
    students = {}
    for branches, architecture in (("32+16", FASTERSEG_STUDENT), ("32+8", FASTERSEG_STUDENT_32_8)):
        students[branches] = {
            "stored_by_them_ms": STORED_MS[branches],
            "as_looked_up_ms": sum_ms(wrong, architecture),
            "as_meant_ms": sum_ms(table, architecture),
        }
    students["32+16"]["measured_ms"] = measured_ms
    for name in ("as_looked_up", "as_meant"):
        students["32+16"][f"{name}_error"] = students["32+16"][f"{name}_ms"] / measured_ms - 1
    return {
        "benchmark": "faithfulness",
        "operators": len(table.specs),
        "students": students,
        "sensitivity": {"paper": PAPER, "exact": axes(sensitivity(table)), "as_looked_up": axes(sensitivity(wrong))},
    }


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="latency_lookup_table.npy")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    publish(figures(options.table), options.output)


if __name__ == "__main__":
    main()
