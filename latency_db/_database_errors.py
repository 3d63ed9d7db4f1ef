"""Turns what drivers say into one line that a person can act upon."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from latency_db.errors import StorageError

_SQLITE = {
    sqlite3.SQLITE_NOTADB: ("is no SQLite database", None),
    sqlite3.SQLITE_CORRUPT: ("is corrupt", "restore a copy, or move it away to start a new one"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened or created", "check the path and its permissions"),
    sqlite3.SQLITE_READONLY: ("is read-only", "check the permissions of the file and its folder"),
    sqlite3.SQLITE_BUSY: ("is locked by another process", "try again when that one has finished"),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "try again when that one has finished"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", None),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input/output error", None),
    sqlite3.SQLITE_PERM: ("cannot be opened: permission denied", None),
}

_POSTGRESQL = {
    "3D000": "create it with createdb",
    "28P01": "check the user and the password",
    "28000": "check the user and the password",
    "42501": "this user lacks a right",
    "53300": "too many connections",
}


def shown(url: URL) -> str:
    """The database as people may see it: the file's path, or the URL without its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.render_as_string(hide_password=True)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise what the driver raises within as ``StorageError``."""
    try:
        yield
    except DBAPIError as error:
        raise storage_error(url, error.orig or error) from error
    except sqlite3.Error as error:
        raise storage_error(url, error) from error
    except PoolTimeoutError as error:
        raise StorageError(f"{shown(url)}: no connection became free", "close other stores first") from error


def storage_error(url: URL, error: BaseException) -> StorageError:
    """What a driver's error is for people."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        known = _SQLITE.get(code & 0xFF) if isinstance(code, int) else None
        if known is not None:
            return StorageError(f"{shown(url)} {known[0]}", known[1])
    sqlstate = getattr(error, "sqlstate", None)
    hint = _POSTGRESQL.get(sqlstate or "")
    if sqlstate is None and url.get_backend_name() == "postgresql":
        # A connection that fails comes without a code.
        hint = f"does the server run, and has it this database? createdb {url.database} makes one"
    return StorageError(f"{shown(url)}: {_reason(error)}", hint)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds a lock that this one needs."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
