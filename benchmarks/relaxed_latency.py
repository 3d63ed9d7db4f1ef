"""How long the relaxed latency takes: value and gradients for all three families, from fresh logits, one thread.

With every term: decoupled weights, and a calibration with a term for every pair of operators. Random latencies do as
well as measured ones here; loading is timed on the database of `--device`, or on one made for it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from _common import publish

from latency_db.calibration import Calibration, PairKey
from latency_db.keys import ImageSize
from latency_db.relaxed import RelaxedLatency
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.space import FasterSegSpace

IMAGE = ImageSize(1024, 2048)
WEIGHTS = (0.001, 0.997, 0.002)


def stored(folder: Path) -> Store:
    """A database with one imported latency per operator, as a published table gives it."""
    from backends.protocol import Target

    store = Store.open(f"sqlite:///{folder / 'table.db'}")
    target = Target(
        device="made-up",
        device_name="made up",
        backend="none",
        runtime="none",
        runtime_version="0",
        precision="fp32",
        fingerprint="none",
    )
    target_id = store.ensure_target(target)
    ids = store.ensure_specs(list(FasterSegSpace().specs(IMAGE)))
    run = store.start_run(target_id, "import", series=1, plan={}, environment={})
    store.add_values(run, [(id_, 0.05 + number % 97 / 97) for number, id_ in enumerate(ids.values())], "imported")
    store.finish_run(run, "completed", "made", None)
    return store


def with_every_term(table: LatencyTable) -> LatencyTable:
    """The same latencies with a calibration that has a term for every pair."""
    ops = sorted({spec.op for spec in table.specs})
    pairs = {
        PairKey(op, stride, next_op, next_stride, s): 0.001 * (1 + number % 7)
        for number, op in enumerate(ops)
        for next_op in ops
        for stride in (1, 2)
        for next_stride in (1, 2)
        for s in (2, 4, 8, 16, 32)
    }
    calibration = Calibration(
        method="pair", cv_error=0.0, networks=1, op_scales={op: 0.95 for op in ops}, pair_terms=pairs
    )
    return replace(table, calibration=calibration)


def one_call_s(relaxed: RelaxedLatency, n: int) -> float:
    """Seconds for value and gradients of ``n`` architectures whose logits are new."""
    shapes = (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    families = [torch.randn(n, *shape, requires_grad=True) for shape in shapes]
    began = time.perf_counter()
    relaxed(*families, weights=WEIGHTS).mean(-1).sum().backward()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output and nothing else")
    parser.add_argument("--device", help="load this device's table from the database instead of one made up")
    parser.add_argument("--db")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(options.db) if options.device else stored(Path(folder))
        loads = []
        with store:
            for _ in range(10):
                began = time.perf_counter()
                table = LatencyTable.load(device=options.device or "made-up", image=IMAGE, store=store)
                loads.append(time.perf_counter() - began)
    relaxed = RelaxedLatency(with_every_term(table))
    for n in (1, options.batch):
        for _ in range(3):
            one_call_s(relaxed, n)
    single = [one_call_s(relaxed, 1) for _ in range(300)]
    batch = [one_call_s(relaxed, options.batch) for _ in range(30)]
    figures = {
        "benchmark": "relaxed_latency",
        "layers": relaxed.layers,
        "branches": len(relaxed.branch_sets[0]),
        "batch": options.batch,
        "single_ms": statistics.median(single) * 1e3,
        "batch_us_each": statistics.median(batch) * 1e6 / options.batch,
        "load_ms": statistics.median(loads) * 1e3,
        "best": {
            "single_ms": min(single) * 1e3,
            "batch_us_each": min(batch) * 1e6 / options.batch,
            "load_ms": min(loads) * 1e3,
        },
    }
    if options.json:
        print(json.dumps(figures))
    else:
        publish(figures, options.output)


if __name__ == "__main__":
    main()
