"""How fast a target's table and a single key load from a database of a million measurements.

Builds the database in a temporary folder (or at --db), a hundred targets of 700 operators with 15 visits each, and
prints one JSON document.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _common import publish
from sqlalchemy import insert

from backends.protocol import Target
from backends.samples import Visit
from latency_db import schema
from latency_db._visits import visit_values
from latency_db.keys import ImageSize, OpSpec
from latency_db.session import open_engine, writing
from latency_db.store import Store

IMAGE = ImageSize(1024, 2048)
OPS = ("skip", "conv", "conv_x2", "zoomed_conv", "zoomed_conv_x2", "merge", "head")


@dataclass(frozen=True)
class Size:
    """How large the database is."""

    targets: int
    specs: int
    visits: int
    samples: int = 5

    @property
    def rows(self) -> int:
        """Measurements in all."""
        return self.targets * self.specs * self.visits


def make_specs(count: int) -> list[OpSpec]:
    """So many different operators."""
    return [
        OpSpec(
            op=OPS[i % len(OPS)],
            s=(8, 16, 32)[i // 7 % 3],
            c_in=8 * (1 + i // 21),
            c_out=64,
            stride=1 + i % 2,
            image=IMAGE,
        )
        for i in range(count)
    ]


def make_target(number: int) -> Target:
    """One of the targets."""
    return Target(
        device=f"device-{number % 20}",
        device_name=f"Device {number % 20}",
        backend="ort",
        runtime="onnxruntime",
        runtime_version=f"1.{number // 20}",
        precision="fp32",
        settings={"threads": 1},
        fingerprint=f"{number:016x}",
    )


def make_visit(rng: random.Random, round_: int, samples: int) -> Visit:
    """Samples with some noise."""
    level = rng.lognormvariate(0, 0.5)
    return Visit(
        round=round_,
        elapsed_ms=tuple(level * rng.lognormvariate(0, 0.02) for _ in range(samples)),
        reference_ms=tuple(rng.lognormvariate(0, 0.02) for _ in range(samples + 1)),
        repeats=4,
        warmup=2,
    )


def fill(url: str, size: Size, seed: int = 0) -> None:
    """Write the database, in bulk: every target in a run of its own, its rounds in shuffled order."""
    rng = random.Random(seed)
    templates = [visit_values(make_visit(rng, 0, size.samples)) for _ in range(997)]
    engine = open_engine(url)
    with Store(url, engine) as store:
        ids = list(store.ensure_specs(make_specs(size.specs)).values())
        for number in range(size.targets):
            target_id = store.ensure_target(make_target(number))
            run_id = store.start_run(target_id, "profile", series=1, plan={}, environment={})
            common = {"run_id": run_id, "target_id": target_id, "series": 1, "provenance": schema.Provenance.MEASURED}
            moment = datetime.now(UTC)
            rows: list[dict[str, Any]] = []
            for round_ in range(size.visits):
                rng.shuffle(ids)
                rows += [
                    {**rng.choice(templates), **common, "spec_id": id_, "round": round_, "created_at": moment}
                    for id_ in ids
                ]
            with writing(engine) as connection:
                connection.execute(insert(schema.Measurement), rows)
            store.finish_run(run_id, "completed", None, 1.0)
            print(f"\r{number + 1}/{size.targets} targets", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def median_ms(action: Callable[[], object], times: int) -> float:
    """The median time of an action."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(taken), 3)


def measure(url: str, size: Size) -> dict[str, Any]:
    """Load tables of different targets, and single keys, in a store that was just opened."""
    rng = random.Random(1)
    specs = make_specs(size.specs)
    with Store.open(url) as store:
        start = time.perf_counter()
        row = store.resolve_target("device-3", None, None) if size.targets <= 20 else store.targets("device-3")[0]
        table = store.visit_ratios(row.id)
        first_ms = round((time.perf_counter() - start) * 1000, 3)
        assert len(table) == size.specs and all(len(s.ratios) == size.visits for s in table.values())
        return {
            "first_resolve_and_table_ms": first_ms,
            "table_load_ms": median_ms(lambda: store.visit_ratios(rng.randint(1, size.targets)), 15),
            "one_key_ms": median_ms(lambda: store.one(rng.randint(1, size.targets), rng.choice(specs)), 101),
            "targets_of_a_device_ms": median_ms(lambda: store.targets("device-3"), 5),
            "all_targets_ms": median_ms(store.targets, 3),
            "query_one_operator_of_a_device_ms": median_ms(lambda: store.query(device="device-3", op="skip", s=8), 3),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", help="where to build it; an empty place (default: a temporary SQLite file)")
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--specs", type=int, default=700)
    parser.add_argument("--visits", type=int, default=15)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    size = Size(targets=options.targets, specs=options.specs, visits=options.visits)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "million.db"
        url = options.db or str(file)
        start = time.perf_counter()
        fill(url, size)
        figures: dict[str, Any] = {"measurements": size.rows, "build_s": round(time.perf_counter() - start, 1)}
        if file.exists():
            figures["megabytes"] = file.stat().st_size // 2**20
        publish({"benchmark": "million_measurements", **figures, **measure(url, size)}, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
