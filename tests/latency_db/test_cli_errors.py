"""Every mistake is one line on standard error and a non-zero exit; a traceback is for --debug."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from backends import registry
from backends.protocol import Availability
from latency_db.cli import main
from latency_db.cli.errors import INTERRUPTED, OneLineErrors
from latency_db.keys import ImageSize
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend, World
from tests.latency_db.program import invoke, the_line
from trainer.data import open_dataset

SMALL = ("--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]")
ONE = ("--only", "op=classify", "--calibration-networks", "0")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Whatever backend is asked for, it is a simulated one."""
    simulated = World(noise=0.001)
    monkeypatch.setattr(registry, "create", lambda name, **settings: FakeBackend(simulated, **settings))
    return simulated


# Backends, spaces, settings


@pytest.mark.parametrize("command", ["profile", "validate", "operators"])
def test_an_unknown_backend(database: Path, command: str) -> None:
    line = the_line(invoke(database, command, "--backend", "tpu"))
    assert "no backend 'tpu'" in line and "ort" in line and "torch" in line


@pytest.mark.parametrize("command", ["profile", "validate", "operators"])
def test_a_missing_runtime(monkeypatch: pytest.MonkeyPatch, database: Path, command: str) -> None:
    missing = Availability(
        available=False, runtime="onnxruntime", reason="onnxruntime is not installed", install="pip install onnxruntime"
    )
    monkeypatch.setattr(registry.get("ort"), "availability", classmethod(lambda cls: missing))
    line = the_line(invoke(database, command, "--backend", "ort"))
    assert "onnxruntime is not installed" in line and "pip install onnxruntime" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--setting", "colour=red"), "no setting 'colour'"),
        (("--setting", "threads"), "not NAME=VALUE"),
        (("--setting", "threads=many"), "threads='many'"),
        (("--threads", "0"), "below 1"),
        (("--threads", "two"), "--threads"),
        (("--space", "darts"), "no space 'darts'"),
        (("--space-setting", "layers=1"), "layers=1"),
        (("--space-setting", "layers"), "NAME=VALUE"),
        (("--space-setting", "depth=3"), "depth"),
        (("--batch", "0"), "--batch"),
        (("--rel-ci", "0"), "confidence interval"),
        (("--rel-ci", "1.5"), "confidence interval"),
        (("--image-size", "12x"), "HEIGHTxWIDTH"),
        (("--image-size", "abc"), "HEIGHTxWIDTH"),
        (("--image-size", "10x10"), "64x64"),
        (("--time-budget", "0"), "time budget is zero"),
        (("--time-budget", "0m"), "time budget is zero"),
        (("--time-budget", "-5s"), "not a duration"),
        (("--time-budget", "soon"), "not a duration"),
        (("--calibration-networks", "-1"), "--calibration-networks"),
        (("--no-such-option",), "--no-such-option"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["profile", "validate"])
def test_a_bad_option(database: Path, command: str, arguments: tuple[str, ...], words: str) -> None:
    assert words in the_line(invoke(database, command, *arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("validate", "--networks", "2"), "--networks 2"),
        (("validate", "--networks", "0"), "--networks 0"),
        (("validate", "--min-pearson", "1.5"), "--min-pearson 1.5"),
        (("validate", "--max-mape", "3"), "--max-mape 3"),
        (("profile", "--only", "op=deconv"), "no operator of the space matches op=deconv"),
        (("profile", "--only", "deconv"), "FIELD=VALUE"),
        (("query", "--provenance", "guessed"), "--provenance"),
        (("query", "--image-size", "12x"), "HEIGHTxWIDTH"),
        (("deploy",), "deploy"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_bad_argument(database: Path, world: World, arguments: tuple[str, ...], words: str) -> None:
    assert words in the_line(invoke(database, *arguments))


# Databases


@pytest.mark.parametrize("command", [("targets",), ("query",), ("profile", *SMALL, *ONE), ("db", "upgrade")])
class TestDatabases:
    def test_a_path_that_cannot_be_written(self, world: World, tmp_path: Path, command: tuple[str, ...]) -> None:
        (tmp_path / "file").touch()
        assert "cannot create" in the_line(invoke(tmp_path / "file" / "some.db", *command))
        assert "is a folder" in the_line(invoke(tmp_path, *command))

    def test_a_corrupt_file(self, world: World, database: Path, command: tuple[str, ...]) -> None:
        Store.open(str(database)).close()
        content = bytearray(database.read_bytes())
        content[:] = content[:100] + b"\xff" * (len(content) - 100)
        database.write_bytes(content)
        assert str(database) in the_line(invoke(database, *command))

    def test_a_file_that_is_no_database(self, world: World, database: Path, command: tuple[str, ...]) -> None:
        database.write_text("notes " * 2000)
        assert "no SQLite database" in the_line(invoke(database, *command))

    def test_another_programs_database(self, world: World, database: Path, command: tuple[str, ...]) -> None:
        connection = sqlite3.connect(database)
        connection.execute("CREATE TABLE recipes (id INTEGER)")
        connection.commit()
        connection.close()
        assert "not a latency database" in the_line(invoke(database, *command))

    def test_a_newer_schema_names_the_version_that_it_needs(
        self, world: World, database: Path, command: tuple[str, ...]
    ) -> None:
        Store.open(str(database)).close()
        connection = sqlite3.connect(database)
        connection.execute("UPDATE alembic_version SET version_num = 'latency_db_9999'")
        connection.execute("UPDATE meta SET written_by_version = '42.0'")
        connection.commit()
        connection.close()
        line = the_line(invoke(database, *command))
        assert "42.0" in line and "pip install" in line

    def test_a_kind_of_database_that_is_not_supported(self, world: World, command: tuple[str, ...]) -> None:
        assert "mysql" in the_line(invoke("mysql://host/name", *command))


def test_an_old_schema_names_the_command_that_mends_it(root: Path, database: Path) -> None:
    dump = root / "tests" / "assets" / "old_dbs" / "0001.sql"
    if not dump.is_file():
        pytest.skip("no frozen database of an old schema")
    connection = sqlite3.connect(database)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    assert "latency-db db upgrade" in the_line(invoke(database, "targets"))
    assert invoke(database, "db", "upgrade").exit_code == 0
    assert invoke(database, "targets").exit_code == 0


# Devices


def test_an_unknown_device(world: World, database: Path) -> None:
    assert invoke(database, "profile", *SMALL, *ONE).exit_code == 0
    for command in (("query",), ("targets",), ("export", "some.csv")):
        line = the_line(invoke(database, *command, "--device", "toaster"))
        assert "no device 'toaster'" in line and "simulated" in line


def test_a_device_that_several_targets_match_lists_them(world: World, database: Path) -> None:
    for threads in ("1", "2"):
        assert invoke(database, "profile", *SMALL, *ONE, "--threads", threads).exit_code == 0
    line = the_line(invoke(database, "query", "--device", "simulated"))
    assert "2 targets match" in line and "threads=1" in line and "threads=2" in line
    with Store.open(str(database)) as store:
        key = store.targets("simulated")[0].target.key
    assert invoke(database, "query", "--device", key).exit_code == 0


def test_doctor_looks_at_the_rest_when_something_is_wrong(database: Path) -> None:
    database.write_bytes(b"no database at all")
    result = invoke(database, "doctor", "--backend", "tpu", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert len(document["problems"]) == 2 and document["noise"] is None
    assert result.stderr.splitlines() == [f"Error: {problem}" for problem in document["problems"]]
    assert set(document["backends"]) >= {"ort", "torch"}


# Operators that fail


def test_an_operator_whose_export_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, database: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def broken(self: FasterSegSpace, spec: Any) -> Any:
        raise RuntimeError("this operator\ncannot be built")

    monkeypatch.setattr(FasterSegSpace, "build_operator", broken)
    result = invoke(database, "profile", "--backend", "ort", *SMALL, *ONE)
    assert result.exit_code == 1 and "Traceback" not in result.output
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert "classify" in line and "this operator" in line
    with Store.open(str(database)) as store:
        (target,) = store.targets()
        (reason,) = store.failures(target.id).values()
        assert "this operator" in reason


def test_one_operator_that_fails_does_not_fail_the_rest(world: World, database: Path) -> None:
    spec = next(spec for spec in FasterSegSpace(layers=3, chis=(4,)).specs(ImageSize(64, 64)) if spec.op == "classify")
    world.broken[spec.name] = "no kernel"
    only = ("--only", "op=classify", "--only", "op=fuse")
    result = invoke(database, "profile", *SMALL, *only, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: not measured: {spec.name}: no kernel"
    assert (document["specs"], document["measured"]) == (2, 1)
    assert document["failed"] == {spec.name: f"{spec.name}: no kernel"}


# Files


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet"])
def test_importing_what_is_no_export(database: Path, tmp_path: Path, file_format: str) -> None:
    if file_format == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / "some"
    assert "cannot read" in the_line(invoke(database, "import", file_format, str(path)))
    path.write_text("nonsense")
    assert str(path) in the_line(invoke(database, "import", file_format, str(path)))


def test_exporting_to_where_nothing_can_be_written(world: World, database: Path, tmp_path: Path) -> None:
    assert invoke(database, "profile", *SMALL, *ONE).exit_code == 0
    assert "cannot write" in the_line(invoke(database, "export", str(tmp_path / "missing" / "some.csv")))
    assert "--format" in the_line(invoke(database, "export", str(tmp_path / "some.txt")))


# Everything else


def test_debug_shows_the_traceback(database: Path) -> None:
    result = CliRunner().invoke(main, ["--db", str(database), "--debug", "profile", "--backend", "tpu"])
    assert result.exception is not None and not isinstance(result.exception, SystemExit)


def test_an_interrupt_says_how_to_go_on(world: World, database: Path) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    world.before_run = interrupt
    result = invoke(database, "profile", *SMALL, *ONE)
    assert result.exit_code == 130
    assert "goes on where it was" in result.stderr and "Traceback" not in result.stderr


def test_every_program_has_its_own_words_for_an_interrupt() -> None:
    class Baker(OneLineErrors):
        interrupted = "The dough is in the fridge."

    def stop() -> None:
        raise KeyboardInterrupt

    lines = []
    for kind in (OneLineErrors, Baker):
        result = CliRunner().invoke(kind(commands={"bake": click.Command("bake", callback=stop)}), ["bake"])
        assert (result.exit_code, result.stdout) == (INTERRUPTED, "")
        lines.append(result.stderr.strip())
    assert lines == ["Interrupted.", "The dough is in the fridge."]


def test_errors_of_data_are_one_line_too(tmp_path: Path) -> None:
    def read() -> None:
        open_dataset("folder", tmp_path, "all")

    program = OneLineErrors(commands={"read": click.Command("read", callback=read)})
    assert "images" in the_line(CliRunner().invoke(program, ["read"]))
