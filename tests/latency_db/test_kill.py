"""A profile that is killed: what it had stored stays, nothing is there twice, and the next call goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = pytest.mark.alone

KILLS = 8
Rows = dict[int, tuple[object, ...]]


def command(database: Path, *more: str) -> list[str]:
    # An interval that is never reached: there is always something left to be killed at.
    profile = ["profile", "--backend", "ort", "--image-size", "64x64", "--only", "s=32,op=conv", "--rel-ci", "0.0001"]
    code = "from latency_db.cli import main; main()"
    return [sys.executable, "-c", code, "--db", str(database), *profile, "--calibration-networks", "0", *more]


def start(database: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(database, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows(database: Path) -> Rows:
    """Every stored visit, samples and all, read by nothing of ours."""
    if not database.exists():
        return {}
    connection = sqlite3.connect(database, timeout=30)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'measurement'").fetchone():
            return {}
        query = "SELECT id, run_id, spec_id, round, ratio, elapsed_ms, reference_ms FROM measurement"
        return {row[0]: row[1:] for row in connection.execute(query)}
    finally:
        connection.close()


def count(database: Path) -> int:
    """A cheap look from outside while the program runs."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM measurement").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return 0


def wait_for_more(process: subprocess.Popen[bytes], database: Path, before: int) -> None:
    deadline = time.monotonic() + 60
    while count(database) <= before:
        assert process.poll() is None, f"the profile ended by itself, with {process.returncode}"
        assert time.monotonic() < deadline, "the profile stores nothing"
        time.sleep(0.02)


def assert_no_duplicates(found: Rows) -> None:
    assert len({(run, spec, number) for run, spec, number, *_ in found.values()}) == len(found)
    # And no call begins again at a round that an earlier one has stored.
    assert len({(spec, number) for _, spec, number, *_ in found.values()}) == len(found)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_profile_killed_again_and_again_loses_nothing_and_completes(tmp_path: Path) -> None:
    database = tmp_path / "killed.db"
    moments = random.Random(2)
    known: Rows = {}
    grown = 0
    for attempt in range(KILLS):
        process = start(database, "--time-budget", "60s")
        try:
            if attempt % 4 == 0:
                # Anywhere: while it starts, while it creates the database, while it exports.
                time.sleep(moments.uniform(0.3, 2.0))
            else:
                wait_for_more(process, database, len(known))
                time.sleep(moments.uniform(0.0, 0.3))
            assert process.poll() is None, "it ended before it could be killed"
        finally:
            process.kill()
            process.wait()
        found = rows(database)
        assert known.items() <= found.items(), "something that was stored is gone, or not what it was"
        assert_no_duplicates(found)
        grown += len(found) > len(known)
        known = found
    assert grown >= KILLS // 2, "hardly any of the killed calls had stored something: the test shows little"

    done = subprocess.run(
        command(database, "--time-budget", "5s", "--json"), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["measured"] == document["specs"] == 25
    final = rows(database)
    assert known.items() <= final.items() and len(final) == len(known) + document["visits"]
    assert_no_duplicates(final)
    connection = sqlite3.connect(database)
    status = dict(connection.execute("SELECT id, status FROM profiling_run").fetchall())
    connection.close()
    assert status[document["run"]] == "completed"


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_ends_with_130_and_marks_the_run(tmp_path: Path) -> None:
    database = tmp_path / "interrupted.db"
    process = subprocess.Popen(
        command(database, "--time-budget", "60s"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for_more(process, database, 2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Interrupted" in errors and "Traceback" not in errors
    connection = sqlite3.connect(database)
    runs = connection.execute("SELECT status, reason FROM profiling_run").fetchall()
    connection.close()
    assert runs == [("interrupted", "KeyboardInterrupt")]
    assert len(rows(database)) >= 3
