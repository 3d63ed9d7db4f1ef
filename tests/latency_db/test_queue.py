"""Profiles in a queue: submitted, listed, done by a worker in this process, and what goes wrong with them."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from backends import registry
from latency_db.errors import JobError, LatencyDbError, StorageError
from latency_db.keys import ImageSize
from latency_db.queue import task
from latency_db.queue.connection import SCHEMA, prepare
from latency_db.queue.device_lock import DeviceLock
from latency_db.queue.jobs import JobQueue, queue_name
from latency_db.queue.task import Cancelled, is_lost_connection, run_job, spent_s
from latency_db.queue.worker import Worker
from latency_db.request import ProfileRequest
from latency_db.rows import RunExtent
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend, World
from tests.latency_db.program import document, invoke, the_line
from tests.latency_db.test_migrations import difference

pytest.importorskip("procrastinate", reason="procrastinate is not installed")

SMALL = ("--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]", "--rel-ci", "0.05")
ASKED = (*SMALL, "--calibration-networks", "0", "--only", "op=conv,s=8", "--only", "op=classify")
CLASSIFY = next(spec for spec in FasterSegSpace(layers=3, chis=(4,)).specs(ImageSize(64, 64)) if spec.op == "classify")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Whatever backend is asked for, it is a simulated one."""
    simulated = World(noise=0.001)
    monkeypatch.setattr(registry, "create", lambda name, **settings: FakeBackend(simulated, **settings))
    return simulated


@pytest.fixture
def queue(postgresql_url: str) -> Iterator[JobQueue]:
    Store.open(postgresql_url).close()
    with JobQueue.open(postgresql_url) as opened:
        yield opened


def submit(url: str, device: str, *more: str) -> int:
    found = document(url, "submit", "--device", device, "--backend", "ort", *ASKED, *more)
    return int(found["id"])


def drain(queue: JobQueue, device: str) -> list[str]:
    said: list[str] = []
    Worker(queue=queue, device=device, drain=True, stalled_s=1, say=said.append, report=lambda progress: None).serve()
    return said


def row(url: str, job_id: int) -> dict[str, Any]:
    (found,) = (job for job in document(url, "jobs") if job["id"] == job_id)
    return dict(found)


@pytest.mark.parametrize("command", [("submit", "--device", "h100"), ("worker", "--device", "h100"), ("jobs",)])
def test_sqlite_holds_no_queue(sqlite_url: str, command: tuple[str, ...]) -> None:
    line = the_line(invoke(sqlite_url, *command))
    assert line == "Error: worker and submit need a PostgreSQL database: --db postgresql://…"
    assert not Path(make_url(sqlite_url).database or "").exists()


def test_a_queue_without_procrastinate(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "procrastinate" else found(name, *more)
    )
    line = the_line(invoke("postgresql://no.such.host.invalid/none", "submit", "--device", "h100"))
    assert "pip install 'latency-db[worker]'" in line


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (("--space", "flat"), "flat"),
        (("--only", "colour=red"), "colour"),
        (("--only", "op=nothing"), "op=nothing"),
        (("--setting", "threads"), "threads"),
        (("--setting", "speed=9"), "speed"),
        (("--threads", "0"), "threads"),
        (("--space-setting", "layers=x"), "layers"),
        (("--rel-ci", "2"), "interval"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_submitted(wrong: tuple[str, ...], named: str) -> None:
    # Before the database is asked for anything.
    line = the_line(
        invoke("postgresql://no.such.host.invalid/none", "submit", "--device", "h100", "--image-size", "64x64", *wrong)
    )
    assert named in line


def test_a_device_is_needed() -> None:
    assert "--device" in the_line(invoke("postgresql://no.such.host.invalid/none", "submit", *SMALL))


def test_a_job_of_an_unserved_device_waits_and_says_so(postgresql_url: str) -> None:
    result = invoke(postgresql_url, "submit", "--device", "h100", "--backend", "far-away", *ASKED)
    assert result.exit_code == 0 and result.stdout == "job 1: fasterseg at 64x64 with far-away on h100\n"
    assert result.stderr == (
        "queued; no worker serves device 'h100' now: latency-db worker --device h100 … on that machine starts one\n"
    )
    assert "no worker serves device 'h100' now" in invoke(postgresql_url, "jobs").stdout
    found = row(postgresql_url, 1)
    assert (found["status"], found["served"], found["visits"], found["line"]) == ("waiting", False, 0, None)
    assert document(postgresql_url, "jobs", "--device", "other") == []


def test_a_served_device(postgresql_url: str, queue: JobQueue) -> None:
    with DeviceLock(queue.url, "h100") as lock, DeviceLock(queue.url, "h100") as second:
        assert lock.take() and lock.is_held()
        assert not second.take()
        assert queue.is_served("h100") and not queue.is_served("h200")
        result = invoke(postgresql_url, "submit", "--device", "h100", *ASKED)
        assert (result.exit_code, result.stderr) == (0, "")
        # A second worker measures nothing: this one waits, and one that only drains ends.
        with pytest.raises(JobError, match="another worker serves device 'h100'"):
            drain(queue, "h100")
        assert row(postgresql_url, 1)["status"] == "waiting"
    assert not queue.is_served("h100")


def test_a_worker_does_what_profile_does(world: World, postgresql_url: str, queue: JobQueue) -> None:
    first, other = submit(postgresql_url, "here", "--threads", "2"), submit(postgresql_url, "there")
    said = drain(queue, "here")
    done, waiting = row(postgresql_url, first), row(postgresql_url, other)
    assert (done["status"], waiting["status"]) == ("done", "waiting")
    assert "stopped: confident" in done["line"] and f"job {first}: {done['line']}" in said
    (target,) = document(postgresql_url, "targets")
    assert (target["device"], target["settings"]["threads"]) == ("here", 2)
    assert target["measurements"] == done["visits"] > 0
    # The same again finds nothing left to do.
    again = submit(postgresql_url, "here", "--threads", "2")
    drain(queue, "here")
    assert "nothing was left to do" in row(postgresql_url, again)["line"]
    assert document(postgresql_url, "targets")[0]["measurements"] == target["measurements"]


def test_a_job_that_fails_leaves_a_line_and_the_next_is_done(
    world: World, postgresql_url: str, queue: JobQueue
) -> None:
    bad, good = submit(postgresql_url, "here", "--batch", "2"), submit(postgresql_url, "here")
    (broken,) = [
        spec for spec in FasterSegSpace(layers=3, chis=(4,)).specs(ImageSize(64, 64), 2) if spec.op == "classify"
    ]
    world.broken[broken.name] = "no\nkernel"
    assert broken.name != CLASSIFY.name
    drain(queue, "here")
    failed, done = row(postgresql_url, bad), row(postgresql_url, good)
    assert (failed["status"], done["status"]) == ("failed", "done")
    assert "operators not measured" in failed["line"] and "no kernel" in failed["line"]
    assert failed["line"] in invoke(postgresql_url, "jobs").stdout


def test_a_backend_that_the_device_lacks_fails_the_job(postgresql_url: str, queue: JobQueue) -> None:
    job = document(postgresql_url, "submit", "--device", "here", "--backend", "far-away", *ASKED)["id"]
    drain(queue, "here")
    found = row(postgresql_url, job)
    assert found["status"] == "failed" and "there is no backend 'far-away'" in found["line"]


def test_a_mistake_of_ours_fails_the_job_and_not_the_worker(
    postgresql_url: str, queue: JobQueue, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = submit(postgresql_url, "here"), submit(postgresql_url, "here")

    def once(runs: Sequence[RunExtent]) -> float:
        monkeypatch.setattr(task, "spent_s", spent_s)
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(task, "spent_s", once)
    drain(queue, "here")
    assert row(postgresql_url, bad)["line"] == "ZeroDivisionError: oh"
    assert row(postgresql_url, good)["status"] == "done"


def test_cancelling(world: World, postgresql_url: str, queue: JobQueue) -> None:
    job, running = submit(postgresql_url, "here"), submit(postgresql_url, "here", "--rel-ci", "0.0001")
    assert invoke(postgresql_url, "jobs", "cancel", str(job)).stdout == f"job {job}: cancelled\n"
    assert f"job {job} is over" in the_line(invoke(postgresql_url, "jobs", "cancel", str(job)))
    assert "there is no job 99" in the_line(invoke(postgresql_url, "jobs", "cancel", "99"))
    asked = threading.Event()

    def ask(name: str) -> None:
        if not asked.is_set():
            asked.set()
            assert queue.cancel(running).cancelling

    world.before_run = ask
    drain(queue, "here")
    found = row(postgresql_url, running)
    assert found["status"] == "cancelled" and "what was measured is stored" in found["line"]
    assert found["visits"] > 0


# The time budget, and going on


def test_the_budget_is_the_jobs_and_not_the_attempts(world: World, postgresql_url: str) -> None:
    request = ProfileRequest(
        device="here", image="64x64", space_settings={"layers": 3, "chis": [4]}, only=("op=conv,s=8",), rel_ci=1e-4,
        time_budget_s=0.4, calibration_networks=0, remeasure=True,
    ).model_dump(mode="json")  # fmt: skip
    visits: list[object] = []

    def stop() -> Cancelled | None:
        visits.append(None)
        return Cancelled() if len(visits) == 8 else None

    with Store.open(postgresql_url) as store:
        with pytest.raises(Cancelled):
            run_job(store, 5, request, lambda progress: None, stop)
        assert "stopped: time" in run_job(store, 5, request, lambda progress: None, lambda: None)
        interrupted, completed = store.run_extents({"job": 5})
        assert (interrupted.status, completed.status) == ("interrupted", "completed")
        assert interrupted.visits == 7 and completed.visits > 0
        assert spent_s([interrupted, completed]) < 0.4 + 0.2
        # It was killed just before it could say so: nothing is measured again, although the budget would allow it.
        assert "operators measured" in run_job(store, 5, request, lambda progress: None, lambda: None)
        (target,) = store.targets("here")
        assert {run.series for run in store.runs(target.id)} == {1}
        rounds = [(raw.spec, raw.round) for raw in store.raw_measurements(target.id)]
        assert len(rounds) == len(set(rounds))


def test_what_is_spent_is_what_runs_have_stored() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [
        RunExtent(run_id=1, status="running", visits=3, started_at=began, last_at=began + timedelta(seconds=20)),
        RunExtent(run_id=2, status="interrupted", visits=3, started_at=began, last_at=began + timedelta(seconds=5)),
    ]
    assert spent_s(runs) == 25
    assert ProfileRequest(image="64x64", time_budget_s=60).plan(spent_s(runs)).time_budget_s == 35
    assert 0 < ProfileRequest(image="64x64", time_budget_s=20).plan(25).time_budget_s < 1e-3


def test_a_job_of_another_version_is_one_line() -> None:
    with pytest.raises(LatencyDbError, match="precision"):
        ProfileRequest.read({"image": "64x64", "precision": "fp8"})


def test_a_database_that_goes_away_says_nothing_of_the_job(postgresql_url: str) -> None:
    with Store.open(postgresql_url) as store:
        admin = create_engine(make_url(postgresql_url), isolation_level="AUTOCOMMIT")
        with pytest.raises(StorageError) as lost, store._reading() as connection:
            with admin.connect() as other:
                other.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            connection.exec_driver_sql("SELECT 1")
        assert is_lost_connection(lost.value)
        with pytest.raises(StorageError) as wrong, store._reading() as connection:
            connection.exec_driver_sql("SELECT nonsense")
        assert not is_lost_connection(wrong.value)
        admin.dispose()


# The queue's tables


def test_several_make_the_tables_at_once_and_alembic_does_not_see_them(postgresql_url: str) -> None:
    Store.open(postgresql_url).close()
    url = make_url(postgresql_url)
    errors: list[BaseException] = []

    def make() -> None:
        try:
            prepare(url)
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    engine = create_engine(url)
    assert difference(engine) == []
    with engine.connect() as connection:
        tables = connection.exec_driver_sql(f"SELECT tablename FROM pg_tables WHERE schemaname = '{SCHEMA}'")
        assert {"outcome", "procrastinate_jobs"} <= {name for (name,) in tables}
    engine.dispose()
    Store.open(postgresql_url).close()


def test_a_long_device_name_has_a_queue_that_postgresql_can_notify(postgresql_url: str) -> None:
    names = [f"cpu-{'x' * 60}-{number}" for number in range(2)]
    assert queue_name("h100") == "h100"
    assert len({queue_name(name) for name in names}) == 2
    for name in names:
        assert invoke(postgresql_url, "submit", "--device", name, *ASKED).exit_code == 0
    assert [job["device"] for job in json.loads(invoke(postgresql_url, "jobs", "--json").stdout)] == names
