"""Which database is opened, and what is said of one that cannot be."""

from __future__ import annotations

import builtins
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text, update

import latency_db
from latency_db import session
from latency_db._migrations import migrate
from latency_db.errors import SchemaError, StorageError
from latency_db.schema import NEWEST_REVISION, Meta
from latency_db.store import Store

OneLine = Callable[[BaseException], str]


def test_the_one_given_beats_the_variable_beats_the_user_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(session.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert session.resolve_url().endswith("/latency-db/latency.db")
    monkeypatch.setenv(session.ENVIRONMENT_VARIABLE, "sqlite:////a/b.db")
    assert session.resolve_url() == "sqlite:////a/b.db"
    assert session.resolve_url("sqlite:////c.db") == "sqlite:////c.db"


@pytest.mark.parametrize("name", ["plain.db", "with blank.db", "50%25.db", "odd?#é", "noext"])
def test_a_path_is_an_sqlite_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert make_url(session.resolve_url(str(path))).database == str(path)
    Store.open(str(path)).close()
    assert path.is_file()


def test_a_relative_path_is_taken_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_url(session.resolve_url("some.db")).database == str(tmp_path / "some.db")
    assert make_url(session.resolve_url("~/some.db")).database == str(Path.home() / "some.db")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_takes_the_one_driver(scheme: str) -> None:
    assert session.resolve_url(f"{scheme}://me:secret@host/name") == "postgresql+psycopg://me:secret@host/name"


def test_a_missing_database_is_created_at_the_newest_schema(store_url: str) -> None:
    with Store.open(store_url) as store:
        assert store.targets() == []
    assert session.current_revision(store_url) == NEWEST_REVISION
    Store.open(store_url).close()


def test_asking_for_the_revision_creates_nothing(tmp_path: Path) -> None:
    assert session.current_revision(str(tmp_path / "a" / "b.db")) is None
    assert list(tmp_path.iterdir()) == []


def test_upgrading_a_missing_database_creates_it(store_url: str) -> None:
    assert session.upgrade(store_url) == NEWEST_REVISION
    Store.open(store_url).close()


def test_a_store_in_memory(one_line: OneLine) -> None:
    with Store.open("sqlite://") as store:
        assert store.devices() == []


def test_sqlite_is_set_up_for_several_writers(sqlite_url: str) -> None:
    engine = session.open_engine(sqlite_url)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 60000, "foreign_keys": 1, "synchronous": 1}


def refusal(url: str, one_line: OneLine, kind: type[StorageError] = StorageError) -> str:
    with pytest.raises(kind) as error:
        Store.open(url)
    return one_line(error.value)


def test_a_path_below_a_file(tmp_path: Path, one_line: OneLine) -> None:
    (tmp_path / "file").touch()
    assert "cannot create the folder" in refusal(str(tmp_path / "file" / "some.db"), one_line)
    assert "cannot create the folder" in refusal(str(tmp_path / "file" / "deep" / "some.db"), one_line)


def test_a_folder(tmp_path: Path, one_line: OneLine) -> None:
    assert "is a folder" in refusal(str(tmp_path), one_line)


def test_a_folder_that_takes_no_files(one_line: OneLine) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a folder that not even root can write to")
    message = refusal("/proc/self/some.db", one_line)
    assert "/proc/self/some.db cannot be opened or created" in message
    assert "cannot create the folder" in refusal("/proc/self/new/some.db", one_line)


def test_a_file_that_is_no_database(tmp_path: Path, one_line: OneLine) -> None:
    path = tmp_path / "notes.db"
    path.write_text("nothing but notes, though rather many of them. " * 100)
    assert f"{path} is no SQLite database" in refusal(str(path), one_line)
    with pytest.raises(StorageError, match="is no SQLite database"):
        session.upgrade(str(path))
    with pytest.raises(StorageError, match="is no SQLite database"):
        session.current_revision(str(path))


def test_a_corrupt_database(tmp_path: Path, one_line: OneLine) -> None:
    path = tmp_path / "corrupt.db"
    Store.open(str(path)).close()
    content = bytearray(path.read_bytes())
    content[100:] = b"\x5a" * (len(content) - 100)
    path.write_bytes(content)
    assert "is corrupt" in refusal(str(path), one_line)


def test_a_truncated_database(tmp_path: Path, one_line: OneLine) -> None:
    path = tmp_path / "short.db"
    Store.open(str(path)).close()
    path.write_bytes(path.read_bytes()[:5000])
    assert "is corrupt" in refusal(str(path), one_line)


def test_another_programs_sqlite_file_is_left_as_it_was(tmp_path: Path, one_line: OneLine) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE measurement (id INTEGER)")
    other.commit()
    other.close()
    before = path.read_bytes()
    assert "not a latency database" in refusal(str(path), one_line, SchemaError)
    with pytest.raises(SchemaError, match="not a latency database"):
        session.upgrade(str(path))
    assert path.read_bytes() == before


def set_revision(url: str, revision: str, version: str) -> None:
    with Store.open(url) as store, session.writing(store._engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        connection.execute(update(Meta).values(written_by_version=version))


def test_a_database_of_another_program_that_uses_alembic(store_url: str, one_line: OneLine) -> None:
    set_revision(store_url, "ae1027a6acf", "1.0")
    assert "not a latency database" in refusal(store_url, one_line, SchemaError)


def test_a_newer_database_names_the_version_it_needs(store_url: str, one_line: OneLine) -> None:
    set_revision(store_url, "latency_db_9999", "9.9")
    message = refusal(store_url, one_line, SchemaError)
    assert "was written by latency-db 9.9 (schema latency_db_9999)" in message
    assert f"this is {latency_db.__version__}" in message
    assert "latency-db>=9.9" in message
    with pytest.raises(SchemaError, match=r"written by latency-db 9\.9"):
        session.upgrade(store_url)


def test_an_older_database_names_the_command(store_url: str, one_line: OneLine) -> None:
    engine = session._engine(store_url)
    with session.writing(engine) as connection:
        migrate(connection, "latency_db_0001")
    engine.dispose()
    assert "latency-db db upgrade" in refusal(store_url, one_line, SchemaError)
    assert session.current_revision(store_url) == "latency_db_0001"
    assert session.upgrade(store_url) == "latency_db_0001"
    Store.open(store_url).close()


def test_a_database_that_is_locked(monkeypatch: pytest.MonkeyPatch, sqlite_url: str, one_line: OneLine) -> None:
    monkeypatch.setattr(session, "BUSY_TIMEOUT_S", 0.1)
    with Store.open(sqlite_url) as store, session.writing(store._engine):
        with pytest.raises(StorageError) as error:
            store.heartbeat(1, None)
        assert "is locked by another process" in one_line(error.value)


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/none", "postgresql://no.such.host.invalid/none"])
def test_a_postgresql_that_does_not_answer(url: str, one_line: OneLine) -> None:
    pytest.importorskip("psycopg")
    refusal(url, one_line)


def test_a_postgresql_database_that_is_not_there(postgresql_server: Any, one_line: OneLine) -> None:
    url = postgresql_server.set(database="nowhere", password="secret").render_as_string(hide_password=False)
    message = refusal(url, one_line)
    assert "nowhere" in message and "createdb" in message
    assert "secret" not in message


def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch, one_line: OneLine) -> None:
    real_import = builtins.__import__

    def import_without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", import_without)
    assert "pip install 'latency-db[postgresql]'" in refusal("postgresql://host/name", one_line)


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense://x", "sqlite:/x://y"])
def test_databases_that_are_not_supported(url: str, one_line: OneLine) -> None:
    refusal(url, one_line)


def test_the_schema_needs_no_torch_and_no_driver() -> None:
    code = (
        "import sys, latency_db.schema, latency_db.store; "
        "print([m for m in ('torch', 'psycopg', 'onnxruntime', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
