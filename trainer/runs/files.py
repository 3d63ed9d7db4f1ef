"""Files of a run that a reader, or a kill at any moment, finds whole: the old one or the new one, never a half."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency_db import documents
from latency_db.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in the place of ``path``, at once.

    Raises:
        InputError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes it the owner's alone; a run folder's files are as readable as any new file.
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot("write", path, error) from None


def cannot(do: str, path: Path, error: OSError) -> InputError:
    """The one line about a file that cannot be read or written."""
    return InputError(f"cannot {do} {path}: {error.strerror or error}")


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: it cannot be read or holds none.
    """
    try:
        document = documents.parse(path.read_bytes().decode())
    except OSError as error:
        raise cannot("read", path, error) from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a JSON object")
    return document
