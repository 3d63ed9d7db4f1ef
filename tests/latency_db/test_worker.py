"""Workers as programs, beside a PostgreSQL server: killed, stopped, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Engine, create_engine, text

from backends import registry
from latency_db.queue.task import spent_s
from latency_db.store import Store
from tests.fakes import FakeBackend, World
from tests.latency_db.program import document, invoke

pytest.importorskip("procrastinate", reason="procrastinate is not installed")
pytestmark = pytest.mark.alone

# Never known well enough: there is always something left to be killed at, until the time is up.
ASKED = ("--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]", "--rel-ci", "0.0001")
ASKED = (*ASKED, "--calibration-networks", "0", "--only", "op=conv", "--backend", "quick")
PLUGIN = """
import time
from tests.fakes import FakeBackend, World

class QuickBackend(FakeBackend):
    name = "quick"

    def __init__(self, **settings):
        world = World(noise=0.05)
        world.before_run = lambda name: time.sleep(0.0002)
        super().__init__(world, **settings)
"""


def slow_backend() -> FakeBackend:
    """The same, in this process and slow enough to be interrupted."""
    world = World(noise=0.05)
    world.before_run = lambda name: time.sleep(0.0002)
    quick = type("QuickBackend", (FakeBackend,), {"name": "quick"})
    made: FakeBackend = quick(world)
    return made


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(root: Path, tmp_path: Path, postgresql_url: str) -> Iterator[Start]:
    """Starts a worker, as a process that has a quick backend among its plugins; ends what a test has left."""
    (tmp_path / "quick_backend.py").write_text(PLUGIN)
    information = tmp_path / "quick_backend-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: quick-backend\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[latency_db.backends]\nquick = quick_backend:QuickBackend\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    code = "from latency_db.cli import main; main()"
    processes: list[subprocess.Popen[str]] = []

    def run(device: str, *more: str) -> subprocess.Popen[str]:
        worker = ["worker", "--device", device, "--stalled-after", "1s", *more]
        command = [sys.executable, "-c", code, "--db", postgresql_url, *worker]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=root
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    """A look from outside."""
    Store.open(postgresql_url).close()
    made = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    yield made
    made.dispose()


def visits(engine: Engine, device: str) -> list[tuple[Any, ...]]:
    query = (
        "SELECT measurement.id, run_id, spec_id, round, series, ratio FROM measurement "
        "JOIN target ON target.id = target_id JOIN device ON device.id = device_id WHERE slug = :slug ORDER BY 1"
    )
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), {"slug": device})]


def until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.05)


def job(url: str, job_id: int) -> dict[str, Any]:
    (found,) = (row for row in document(url, "jobs") if row["id"] == job_id)
    return dict(found)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def submit(url: str, device: str, budget: str) -> int:
    return int(document(url, "submit", "--device", device, "--time-budget", budget, *ASKED)["id"])


@pytest.mark.slow
def test_what_a_killed_worker_held_is_done_by_the_one_that_waits(
    start: Start, engine: Engine, postgresql_url: str
) -> None:
    there = submit(postgresql_url, "there", "1s")
    other, *rivals = start("there"), start("here"), start("here")
    # A second worker for the same device never measures beside the first.
    said = {first_line(rival): rival for rival in rivals}
    first = said["serving device 'here'\n"]
    second = said["another worker serves device 'here'; this one takes over when that one ends\n"]
    here = submit(postgresql_url, "here", "2s")
    until(lambda: len(visits(engine, "here")) > 20, first)
    assert job(postgresql_url, here)["status"] == "running"
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = visits(engine, "here")
    until(lambda: job(postgresql_url, here)["status"] == "done", second)

    done = job(postgresql_url, here)
    assert "stopped: time" in done["line"]
    after = visits(engine, "here")
    # Nothing lost, nothing there twice, and no round begun again that was there.
    assert after[: len(before)] == before and len(after) > len(before)
    assert len({row[1] for row in after}) == 2
    assert len({(spec, number) for _, _, spec, number, *_ in after}) == len(after) == done["visits"]
    assert {series for *_, series, _ in after} == {1}
    counts = [sum(row[2] == spec for row in after) for spec in {row[2] for row in after}]
    assert max(counts) - min(counts) <= 2

    until(lambda: job(postgresql_url, there)["status"] == "done", other)
    assert visits(engine, "there")
    second.terminate()
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 0 and "Traceback" not in output
    assert f"job {here}: its worker is gone; it waits again" in output


@pytest.mark.slow
def test_a_worker_that_is_stopped_gives_its_job_back_and_the_next_goes_on(
    start: Start, engine: Engine, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = submit(postgresql_url, "here", "2s")
    worker = start("here")
    until(lambda: len(visits(engine, "here")) > 5, worker)
    assert job(postgresql_url, only)["served"]
    worker.send_signal(signal.SIGTERM)
    output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0 and "Traceback" not in output
    assert f"job {only}: given back" in output
    found, before = job(postgresql_url, only), visits(engine, "here")
    assert (found["status"], found["served"], found["visits"]) == ("waiting", False, len(before))
    with Store.open(postgresql_url) as store:
        (run,) = store.runs()
        assert (run.status, run.reason) == ("interrupted", "GivenBack")

    monkeypatch.setattr(registry, "create", lambda name, **settings: slow_backend())
    result = invoke(postgresql_url, "worker", "--device", "here", "--drain", "--stalled-after", "2s")
    assert result.exit_code == 0, result.output
    assert job(postgresql_url, only)["status"] == "done"
    assert visits(engine, "here")[: len(before)] == before
    with Store.open(postgresql_url) as store:
        assert spent_s(store.run_extents({"job": only})) < 2 + 1


def test_a_database_that_goes_away_ends_the_worker_and_not_the_job(
    engine: Engine, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = submit(postgresql_url, "here", "60s")
    monkeypatch.setattr(registry, "create", lambda name, **settings: slow_backend())

    def cut() -> None:
        while not visits(engine, "here"):
            time.sleep(0.05)
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )

    other = threading.Thread(target=cut)
    other.start()
    line = the_last(invoke(postgresql_url, "worker", "--device", "here", "--stalled-after", "1s"))
    other.join()
    assert "the connection was lost; no job is" in line and "latency-db worker --device here" in line
    assert job(postgresql_url, only)["status"] in ("running", "waiting")


def the_last(result: Result) -> str:
    """The line that a program ends with."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    return result.stderr.splitlines()[-1]
