"""A run's state in one file: whole or the one before, read without executing anything in it."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from trainer.runs.errors import RunFolderError

VERSION = 1


def save_checkpoint(path: Path, kind: str, state: dict[str, Any]) -> None:
    """Put the state in the place of the last one, at once: whatever happens, one of the two is there.

    Args:
        path: the file.
        kind: what it is the state of: one word.
        state: tensors, numbers, texts, lists and tables of them.

    Raises:
        RunFolderError: it cannot be written; the last one is untouched.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            torch.save({"format": _format(kind), "version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except (OSError, RuntimeError) as error:
        # torch wraps what the file said into a RuntimeError of its own.
        fresh.unlink(missing_ok=True)
        cause = _os_error(error)
        if cause is None:
            raise
        kept = "; the last checkpoint is intact" if path.exists() else ""
        raise RunFolderError(
            f"cannot write {path}: {cause.strerror or cause}{kept}", hint="make room and go on with --resume"
        ) from None
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path, kind: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        RunFolderError: it cannot be read, or is no such file.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True, mmap=True)
    except OSError as error:
        if error.errno == errno.EINVAL:
            # What there is of a file that was cut short cannot be mapped into memory.
            raise RunFolderError(f"{path} is damaged, or no checkpoint") from None
        raise RunFolderError(f"cannot read {path}: {error.strerror or error}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError):
        raise RunFolderError(f"{path} is damaged, or no checkpoint") from None
    if not isinstance(state, dict) or state.get("format") != _format(kind) or state.get("version") != VERSION:
        raise RunFolderError(f"{path} is no {kind} checkpoint that this release reads")
    return state


def _format(kind: str) -> str:
    return f"latency-db/{kind}-checkpoint"


def _os_error(error: BaseException) -> OSError | None:
    """The complaint of the file system behind an error, if there is one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
