"""Engines and what else is slow to make, kept in a folder that may be deleted at any time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from backends.errors import BackendError

_DIGEST = 32


def folder() -> Path:
    """Where they are."""
    return platformdirs.user_cache_path("latency-db") / "trt"


def key(parts: Mapping[str, object], content: bytes = b"") -> str:
    """A name for what was made of ``content`` under these circumstances. Others, another name.

    Args:
        parts: JSON values.
        content: a graph.
    """
    described = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(described.encode() + b"\0" + content).hexdigest()


def read(name: str) -> bytes | None:
    """What was kept under this name; None where nothing was, or where it is damaged or cut short."""
    try:
        stored = (folder() / name).read_bytes()
    except OSError:
        return None  # Whether absent or unreadable: it is made anew, and writing it says what is wrong.
    digest, content = stored[:_DIGEST], stored[_DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(name: str, content: bytes) -> None:
    """Keep it: all of it or nothing, whatever happens on the way, and whoever else writes the same.

    Raises:
        BackendError: the disk is full, or the folder cannot be written.
    """
    path = folder() / name
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise BackendError(
            f"cannot keep an engine in {path.parent}: {error.strerror or error}",
            hint="free space there, or point XDG_CACHE_HOME at another folder",
        ) from error
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise
