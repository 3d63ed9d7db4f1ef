"""Several processes at one database, and one that is killed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latency_db.store import Store

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4
BATCHES = 30
BATCH = 10

WRITER = """
import sys
from backends.protocol import Target
from backends.samples import Visit
from latency_db.keys import ImageSize, OpSpec
from latency_db.store import Store

url, number, batches, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
image = ImageSize(256, 512)
target = Target(device="cpu", device_name="CPU", backend="ort", runtime="onnxruntime", runtime_version="1",
                precision="fp32", fingerprint="f")
specs = [OpSpec(op="conv", s=8, c_in=8 * n, c_out=64, stride=1, image=image) for n in range(1, 201)]
print("ready", flush=True)
sys.stdin.readline()
with Store.open(url) as store:
    target_id = store.ensure_target(target)
    ids = list(store.ensure_specs(specs[number * 20:] + specs[:number * 20]).values())
    network_id = store.ensure_network("space", {}, {"cells": []}, image)
    run_id = store.start_run(target_id, "profile", series=1, plan={"number": number}, environment={})
    print("run", run_id, flush=True)
    batch = 0
    while batches == 0 or batch < batches:
        visit = Visit(round=batch, elapsed_ms=(1.0 + number,), reference_ms=(1.0, 1.0), repeats=1, warmup=0)
        store.add_visits(run_id, [(id_, visit) for id_ in ids[:size]])
        store.add_visits(run_id, [(network_id, visit)], network=True)
        store.heartbeat(run_id, 1.0)
        print("batch", batch, flush=True)
        batch += 1
    store.finish_run(run_id, "completed", None, 1.0)
"""


@contextmanager
def writers(url: str, count: int, batches: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that write to one database, let loose together once all have loaded."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(number), str(batches), str(BATCH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_concurrent_writers_lose_nothing_and_duplicate_nothing(store_url: str) -> None:
    with writers(store_url, PROCESSES, BATCHES) as processes:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert (process.returncode, errors) == (0, "")
    with Store.open(store_url) as store:
        (target,) = store.targets()
        runs = store.runs(target.id)
        assert sorted(run.plan["number"] for run in runs) == list(range(PROCESSES))
        assert {run.status for run in runs} == {"completed"}
        rows = Counter((raw.run_id, raw.spec, raw.round) for raw in store.raw_measurements(target.id))
        assert len(rows) == PROCESSES * BATCHES * BATCH
        assert set(rows.values()) == {1}
        assert Counter(run_id for run_id, _, _ in rows) == {run.id: BATCHES * BATCH for run in runs}
        (visits,) = store.network_visits(target.id).values()
        assert sorted(visits.rounds) == sorted(list(range(BATCHES)) * PROCESSES)


def test_a_missing_database_is_created_once_by_all_who_come(store_url: str) -> None:
    with writers(store_url, PROCESSES, batches=1) as processes:
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, "")
    with Store.open(store_url) as store:
        assert len(store.runs()) == PROCESSES


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_that_is_killed_leaves_whole_transactions(store_url: str, seed: int) -> None:
    with writers(store_url, 1, batches=0) as (process,):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("run")
        time.sleep(random.Random(seed).uniform(0.05, 0.5))
        process.kill()
        said = [line for line in process.stdout.read().splitlines() if line.startswith("batch")]
    with Store.open(store_url) as store:
        (target,) = store.targets()
        (run,) = store.runs(target.id)
        rounds = Counter(raw.round for raw in store.raw_measurements(target.id))
        assert set(rounds.values()) <= {BATCH}
        assert len(said) <= len(rounds) <= len(said) + 1
        assert list(rounds) == list(range(len(rounds)))
        assert run.status == "running"
        store.finish_run(run.id, "interrupted", "killed", None)
