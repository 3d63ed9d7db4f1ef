"""With --json, standard output is one JSON document; everything else goes to standard error."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from backends import measure as loop
from backends import registry
from latency_db import campaign as campaigns
from latency_db.cli import main
from latency_db.schema import NEWEST_REVISION
from tests.fakes import FakeBackend, World
from tests.latency_db.program import document, invoke
from trainer.builtin import BUILTIN

SMALL = ("--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]", "--rel-ci", "0.05")
KEYS = [
    "pearson",
    "spearman",
    "mape",
    "within_5",
    "within_10",
    "bias",
    "slope",
    "intercept",
    "max_error",
    "spread",
    "networks",
    "dropped",
    "noise_ceiling",
    "target",
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Whatever backend is asked for, it is a simulated one, and the loop's time is the simulation's."""
    simulated = World(noise=0.002)
    monkeypatch.setattr(registry, "create", lambda name, **settings: FakeBackend(simulated, **settings))
    monkeypatch.setattr(campaigns, "measure", functools.partial(loop.measure, now=simulated.seconds))
    return simulated


def test_profile_query_export_import(world: World, database: Path, tmp_path: Path) -> None:
    profiled = document(database, "profile", *SMALL, "--calibration-networks", "6")
    assert profiled["measured"] == profiled["specs"] and profiled["failed"] == {}
    assert profiled["calibration"]["networks"] == 6
    assert document(database, "profile", *SMALL, "--calibration-networks", "6")["stopped"] == "nothing left to do"

    rows = document(database, "query", "--op", "conv", "--s", "16", "--image-size", "64x64")
    assert rows and {(row["op"], row["s"], row["image_size"]) for row in rows} == {("conv", 16, "64x64")}
    assert all(row["latency_ms"] > 0 and row["provenance"] == "measured" for row in rows)
    assert len(document(database, "query", "--limit", "3")) == 3

    (target,) = document(database, "targets")
    assert (target["device"], target["operators"]) == ("simulated", profiled["specs"])
    assert document(database, "devices") == [{"device": "simulated", "name": "A simulated machine", "targets": 1}]

    path = tmp_path / "some.json"
    written = document(database, "export", str(path))
    again = document(tmp_path / "other.db", "import", "json", str(path))
    assert (again["rows"], again["added"]) == (written["rows"], written["rows"]) and written["rows"] > 0
    assert document(tmp_path / "other.db", "query") == document(database, "query")


def test_validate_has_the_keys_that_it_promises(world: World, database: Path, tmp_path: Path) -> None:
    arguments = ("validate", *SMALL, "--networks", "5", "--calibration-networks", "0", "--time-budget", "5m")
    found = document(database, *arguments)
    assert set(KEYS) <= set(found)
    assert (found["networks"], found["dropped"]) == (5, 0)


def test_each_network_has_its_error(world: World, database: Path, tmp_path: Path) -> None:
    architecture = tmp_path / "mine.json"
    architecture.write_text(json.dumps(BUILTIN["fasterseg-student-32-8"].to_json()), encoding="utf-8")
    arguments = ("--networks", "10", "--architecture", str(architecture), "--architecture", "fasterseg-student")
    found = document(
        database, "validate", "--image-size", "64x64", "--rel-ci", "0.1", *arguments, "--calibration-networks", "0"
    )
    names = [one["name"] for one in found["results"]]
    assert names[:2] == [str(architecture), "fasterseg-student"] and len(names) == found["networks"] == 12
    for one in found["results"]:
        assert one["error"] == pytest.approx(one["predicted_ms"] / one["measured_ms"] - 1)


def test_validate_writes_its_report(world: World, database: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = tmp_path / "deep" / "report"
    arguments = ("validate", *SMALL, "--networks", "4", "--calibration-networks", "0", "--report", str(folder))
    found = document(database, *arguments)
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json", "validation.png"}
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["pearson"] == found["pearson"]


def test_a_missed_bound_is_exit_code_1_and_still_a_document(world: World, database: Path) -> None:
    # Networks cost what their name says: nothing that a sum could predict.
    arguments = ("validate", *SMALL, "--networks", "6", "--calibration-networks", "0", "--max-mape", "0.01", "--json")
    result = invoke(database, *arguments)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["verdict"]["outcome"] == "missed"


def test_lists(database: Path) -> None:
    assert {row["backend"] for row in document(database, "backends")} >= {"ort", "torch"}
    (space,) = (row for row in document(database, "spaces") if row["space"] == "fasterseg")
    assert space["builtin"] == ["fasterseg-student", "fasterseg-student-32-8"] and space["settings"]["layers"] == 16
    assert document(database, "targets") == document(database, "devices") == []


def test_a_query_that_finds_nothing_is_an_empty_document(database: Path) -> None:
    result = invoke(database, "query", "--op", "conv", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])


def test_the_database_itself(database: Path) -> None:
    assert document(database, "db", "current")["schema"] is None
    assert not database.exists(), "asking creates nothing"
    assert NEWEST_REVISION in invoke(database, "db", "upgrade").stdout
    found = document(database, "db", "current")
    assert found["schema"] == NEWEST_REVISION and str(database) in found["url"]


def test_the_variable_names_the_database(monkeypatch: pytest.MonkeyPatch, database: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("LATENCY_DB_URL", str(database))
    result = CliRunner().invoke(main, ["db", "current", "--json"])
    assert str(database) in json.loads(result.stdout)["url"]
    given = CliRunner().invoke(main, ["--db", str(tmp_path / "given.db"), "db", "current", "--json"])
    assert "given.db" in json.loads(given.stdout)["url"]


@pytest.mark.alone
def test_table_1_with_the_real_runtime(database: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    rows = document(database, "operators", "--backend", "ort", "--time-budget", "2s")
    assert [row["op"] for row in rows] == ["conv", "conv_group2", "conv_dilation2", "zoomed_conv"]
    assert any(row["latency_ms"] for row in rows)
    assert rows[0]["macs"] == 4 * rows[3]["macs"]


def test_doctor(database: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    found = document(database, "doctor", "--seconds", "0.3")
    assert found["backends"]["ort"]["available"] is True
    assert found["noise"]["clock"] == "perf_counter"
    assert set(found["observers"]) == {"cpu"} and "run-queue wait" in found["observers"]["cpu"]
    assert 0 < found["noise"]["undisturbed_ms"] <= found["noise"]["median_ms"] <= found["noise"]["p95_ms"]
    assert found["database"]["schema"] is None and not database.exists()


@pytest.mark.parametrize("command", ["targets", "devices", "backends", "spaces", "doctor"])
def test_people_get_text(database: Path, command: str) -> None:
    if command == "doctor":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    result = invoke(database, command, *(("--seconds", "0.2") if command == "doctor" else ()))
    assert result.exit_code == 0 and result.stdout.strip()
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.stdout)
