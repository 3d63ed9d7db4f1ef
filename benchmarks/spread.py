"""Where the noise of a profile comes from: from sample to sample within a visit, or from visit to visit.

Reads the samples of a database's ONNX Runtime target. Operators are grouped by their latency. Within: the standard
deviation of a visit's ratios. Between: what is left of the visits' spread when the part that the scatter of their own
samples explains (a median of n samples: 1.2533 · within / √n) is taken off. All robust (1.4826 · median absolute
deviation), relative, the median over operators. Beside it the same visits' bare medians, not divided by the reference.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import publish

from backends.samples import Visit, estimate
from latency_db.store import Store

EDGES_MS = (0.0, 0.25, 0.5, 1.0, 2.0, math.inf)


def deviation(values: Sequence[float]) -> float:
    """Robust standard deviation."""
    array = np.asarray(values)
    return 1.4826 * float(np.median(np.abs(array - np.median(array))))


def figures(visits: Sequence[Visit]) -> tuple[float, float, float, float]:
    """(within, between, visits' spread, visits' spread bare) of one operator."""
    within = float(np.median([np.std(np.log(visit.ratios), ddof=1) for visit in visits]))
    spread = deviation([math.log(visit.ratio) for visit in visits])
    samples = float(np.median([len(visit.elapsed_ms) for visit in visits]))
    explained = math.sqrt(math.pi / 2) * within / math.sqrt(samples)
    bare = deviation([math.log(visit.median_ms) for visit in visits])
    return within, math.sqrt(max(spread**2 - explained**2, 0.0)), spread, bare


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    found: dict[object, list[Visit]] = defaultdict(list)
    with Store.open(options.db) as store:
        target = store.resolve_target(None, "ort")
        for row in store.raw_measurements(target.id):
            if row.visit is not None and len(row.visit.elapsed_ms) > 1:
                found[row.spec].append(row.visit)
    reference_ms = target.reference_ms or 0.0
    classes: dict[int, list[tuple[float, float, float, float]]] = defaultdict(list)
    for visits in found.values():
        if len(visits) >= 5:
            latency_ms = estimate([visit.ratio for visit in visits]).value * reference_ms
            classes[int(np.searchsorted(EDGES_MS, latency_ms, side="right")) - 1].append(figures(visits))
    rows = [
        {
            "from_ms": EDGES_MS[index],
            "to_ms": EDGES_MS[index + 1] if math.isfinite(EDGES_MS[index + 1]) else None,
            "operators": len(group),
            **dict(
                zip(("within", "between", "visits", "visits_bare"), map(float, np.median(group, axis=0)), strict=True)
            ),
        }
        for index, group in sorted(classes.items())
    ]
    publish({"benchmark": "spread", "classes": rows}, options.output)


if __name__ == "__main__":
    main()
