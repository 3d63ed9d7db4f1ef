"""An architecture by its name or its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from latency_db import documents
from latency_db.errors import InputError

Architecture = TypeVar("Architecture")


def read_architecture(
    named: str, builtin: Mapping[str, Architecture], from_json: Callable[[Any], Architecture]
) -> Architecture:
    """A built-in architecture by name, or one from a JSON file.

    Args:
        named: the name or the file's path; a name goes first.
        builtin: the architectures that have a name.
        from_json: makes one of a JSON document; raises ValueError where the document is none.

    Raises:
        InputError: neither a name nor a readable file of an architecture.
    """
    if not named:
        raise InputError("the architecture has no name: give its JSON file, or the name of a built-in one")
    if named in builtin:
        return builtin[named]
    try:
        document = documents.parse(Path(named).read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(builtin)) or "none"
        raise InputError(
            f"there is no file {named}, and no built-in architecture of that name; there are: {known}"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {named}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{named} is not JSON: {error}") from None
    try:
        return from_json(document)
    except ValueError as error:
        raise InputError(f"{named}: {error}") from None
