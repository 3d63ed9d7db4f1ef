"""Where programs lie that a backend compiles to files: a private folder of this process, gone when it ends."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from backends.errors import BackendError

_YOUNG_S = 60.0


def new_path(suffix: str) -> Path:
    """A path in the folder that nothing has yet.

    Raises:
        BackendError: there is no folder, and none can be made.
    """
    return folder() / f"{secrets.token_hex(8)}{suffix}"


def new_folder() -> Path:
    """An empty folder in the folder.

    Raises:
        BackendError: it cannot be made.
    """
    made = new_path("")
    with _translated(made):
        made.mkdir()
    return made


def write(path: Path, content: bytes) -> None:
    """Write a file there.

    Raises:
        BackendError: the disk is full, say.
    """
    with _translated(path):
        path.write_bytes(content)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"cannot write the exported model to {path.parent}: {error.strerror}", hint="free space there"
        ) from error


def folder() -> Path:
    """This process's folder, made at its first use.

    Raises:
        BackendError: it cannot be made.
    """
    return _make_folder(os.getpid())


@cache
def _make_folder(pid: int) -> Path:
    """``pid`` is the cache's key: a forked child must not write to, or remove, its parent's folder."""
    parent = platformdirs.user_cache_path("latency-db") / "programs"
    made = parent / f"{pid}-{secrets.token_hex(6)}"
    try:
        made.mkdir(parents=True, mode=0o700)
        _sweep(parent)
        lock = FileLock(made / "lock")
        lock.acquire(timeout=0)
    except OSError as error:
        raise BackendError(
            f"cannot make a folder for exported models in {parent}: {error.strerror}",
            hint="make it writable, or point XDG_CACHE_HOME at a folder that is",
        ) from error
    atexit.register(_remove_folder, made, lock, pid)
    return made


def _remove_folder(made: Path, lock: FileLock, pid: int) -> None:
    if os.getpid() == pid:
        lock.release()
        shutil.rmtree(made, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed processes left behind.

    Whether a folder's owner lives is asked of its lock, not of its pid: another container that shares this home has
    pids of its own. A folder younger than a minute may be about to take its lock.
    """
    for left in parent.iterdir():
        try:
            if time.time() - left.stat().st_mtime < _YOUNG_S:
                continue
            with FileLock(left / "lock").acquire(timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        except (Timeout, OSError):
            continue  # In use, or another process is sweeping it at this moment.
