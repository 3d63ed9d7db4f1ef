"""How the queue's tables are reached: in a schema of their own beside the latencies, made when it is first used."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url

from latency_db._database_errors import shown, storage_error
from latency_db.errors import InputError, StorageError
from latency_db.session import CONNECT_TIMEOUT_S, resolve_url

if TYPE_CHECKING:
    import psycopg

SCHEMA = "latency_db_queue"
"""PostgreSQL's schema of the queue's tables: out of the way of our own, of alembic's look at them, and of another
program's procrastinate in the same database."""
POOL_TIMEOUT_S = 10.0
_CREATION_LOCK = 0x6C61_7465_6E63_7901
_OUTCOME = """
CREATE TABLE outcome (
    job_id bigint PRIMARY KEY REFERENCES procrastinate_jobs ON DELETE CASCADE,
    line text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now()
)
"""
"""What a job came to, in one line: procrastinate keeps no results and no errors."""


def queue_url(url: str | None) -> URL:
    """The database's URL, found to be one that can hold a queue.

    Raises:
        InputError: it is no PostgreSQL database.
        StorageError: procrastinate or its driver is not installed.
    """
    parsed = make_url(resolve_url(url))
    if parsed.get_backend_name() != "postgresql":
        raise InputError("worker and submit need a PostgreSQL database: --db postgresql://…")
    for module in ("psycopg", "procrastinate"):
        if importlib.util.find_spec(module) is None:
            raise StorageError(f"the queue needs {module}", "pip install 'latency-db[worker]'")
    return parsed


def connection_arguments(url: URL) -> dict[str, Any]:
    """What psycopg takes to reach the queue's tables without naming their schema, as ``conninfo`` and ``kwargs``.

    A connection that the network silently lost is noticed, at both of its ends, within a minute.
    """
    given = url.query.get("options", "")
    ours = f"-c search_path={SCHEMA} -c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    return {
        "conninfo": url.set(drivername="postgresql").render_as_string(hide_password=False),
        "kwargs": {
            "options": f"{given} {ours}".strip(),
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 50_000,
        },
    }


def connect(url: URL) -> psycopg.Connection[Any]:
    """A connection of one's own, in which every statement is a transaction."""
    import psycopg

    arguments = connection_arguments(url)
    return psycopg.connect(arguments["conninfo"], autocommit=True, **arguments["kwargs"])


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise what the driver and procrastinate raise within as ``StorageError``."""
    import psycopg
    from procrastinate.exceptions import ConnectorException

    try:
        yield
    except ConnectorException as error:
        raise storage_error(url, error.__cause__ or error) from error
    except psycopg.Error as error:
        raise storage_error(url, error) from error


def prepare(url: URL) -> None:
    """Make the queue's tables where they are missing. Of several who do so at once one does and the others wait.

    Raises:
        StorageError: the database cannot be reached, or this user may not make a schema in it.
    """
    from procrastinate.schema import SchemaManager

    with translated(url), connect(url) as connection, connection.transaction():
        if _is_prepared(connection):
            return
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATION_LOCK,))
        if _is_prepared(connection):
            return
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(SchemaManager.get_schema())
        connection.execute(_OUTCOME)


def _is_prepared(connection: psycopg.Connection[Any]) -> bool:
    # A query, and not to_regclass: that one may still believe what it found before the lock was waited for.
    query = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'outcome'"
    return connection.execute(query, (SCHEMA,)).fetchone() is not None


def where(url: URL) -> str:
    """The database as people may see it."""
    return shown(url)
