"""From a URL to an engine over a database at the newest schema, or one clear line why not."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from platformdirs import user_data_path
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError

from latency_db._database_errors import is_busy, shown, translated
from latency_db._migrations import check_newest, check_not_newer, migrate, revision_of
from latency_db.errors import StorageError
from latency_db.schema import NEWEST_REVISION

ENVIRONMENT_VARIABLE = "LATENCY_DB_URL"
BUSY_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10
_IMMEDIATE = "latency_db_immediate"
_CREATION_LOCK = 0x6C61_7465_6E63_7900
"""Key of PostgreSQL's advisory lock around creating and migrating."""


def resolve_url(url: str | None = None) -> str:
    """The database to use: the one given, else ``LATENCY_DB_URL``, else a file in the user's data folder.

    What has no scheme is the path of an SQLite file.
    """
    given = url or os.environ.get(ENVIRONMENT_VARIABLE)
    if not given:
        return _sqlite_url(user_data_path("latency-db") / "latency.db")
    if "://" not in given:
        return _sqlite_url(Path(given).expanduser().absolute())
    return _parsed(given).render_as_string(hide_password=False)


def open_engine(url: str) -> Engine:
    """An engine over the database, which is created at the newest schema where it is missing.

    Raises:
        StorageError: it cannot be reached, read or written, or is no database.
        SchemaError: it is another program's, or its schema is older or newer than this version's.
    """
    engine = _engine(url)
    with _disposed_on_error(engine), translated(engine.url):
        where = shown(engine.url)
        with engine.connect() as connection:
            revision = revision_of(connection, where)
            if revision is not None:
                check_newest(connection, revision, where)
        _use_wal(engine)
        if revision is None:
            with writing(engine) as connection:
                _lock(connection)
                revision = revision_of(connection, where)
                if revision is None:
                    migrate(connection)
                else:
                    check_newest(connection, revision, where)
    return engine


def upgrade(url: str) -> str:
    """Migrate the database to the newest schema, creating it where it is missing. Returns the revision it had before,
    or the newest where it was missing.

    Raises:
        StorageError: as ``open_engine``.
        SchemaError: it is another program's, or newer than this version.
    """
    engine = _engine(url)
    with _disposed_on_error(engine), translated(engine.url):
        where = shown(engine.url)
        with engine.connect() as connection:
            revision = revision_of(connection, where)
        _use_wal(engine)
        with writing(engine) as connection:
            _lock(connection)
            revision = revision_of(connection, where)
            if revision is not None:
                check_not_newer(connection, revision, where)
            if revision != NEWEST_REVISION:
                migrate(connection)
    engine.dispose()
    return revision or NEWEST_REVISION


def current_revision(url: str) -> str | None:
    """The revision of the database's schema; None where there is no database. Creates nothing.

    Raises:
        StorageError: as ``open_engine``.
        SchemaError: it is another program's.
    """
    parsed = _parsed(resolve_url(url))
    if _is_file(parsed) and not Path(str(parsed.database)).exists():
        return None
    engine = _engine(url)
    with _disposed_on_error(engine), translated(engine.url), engine.connect() as connection:
        revision = revision_of(connection, shown(engine.url))
    engine.dispose()
    return revision


def writing(engine: Engine) -> AbstractContextManager[Connection]:
    """A transaction that takes SQLite's write lock at once, so that a second writer waits instead of failing."""
    return engine.execution_options(**{_IMMEDIATE: True}).begin()


def _sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StorageError(
            "the database's URL cannot be read", "as in sqlite:///file.db or postgresql://host/name"
        ) from None
    name = "postgresql" if parsed.drivername == "postgres" else parsed.get_backend_name()
    if name == "sqlite":
        return parsed.set(drivername="sqlite")
    if name == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise StorageError(f"databases of kind {parsed.drivername!r} are not supported", "use sqlite or postgresql")


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def _engine(url: str) -> Engine:
    parsed = _parsed(resolve_url(url))
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    options = {} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    try:
        return create_engine(parsed, pool_pre_ping=True, connect_args=options)
    except ModuleNotFoundError:
        raise StorageError("PostgreSQL needs the driver psycopg", "pip install 'latency-db[postgresql]'") from None


def _sqlite_engine(url: URL) -> Engine:
    if _is_file(url):
        _make_folder(Path(str(url.database)))
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_folder(path: Path) -> None:
    if path.is_dir():
        raise StorageError(f"{path} is a folder, not a database", "give the path of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create the folder {path.parent}: {error.strerror}") from error


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver's own habit of beginning transactions is switched off: _begin_sqlite decides.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _use_wal(engine: Engine) -> None:
    """Switch SQLite to write-ahead logging, which its file then remembers.

    The switch needs the file for itself and does not wait for it as other statements do.
    """
    if engine.dialect.name != "sqlite":
        return
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    connection = engine.raw_connection()
    try:
        while True:
            try:
                cursor = connection.cursor()
                mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
                if mode == "delete":
                    cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        connection.close()


def _lock(connection: Connection) -> None:
    """Keep other creators out until this transaction ends; SQLite's own write lock does so already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})


@contextmanager
def _disposed_on_error(engine: Engine) -> Iterator[None]:
    try:
        yield
    except BaseException:
        engine.dispose()
        raise
