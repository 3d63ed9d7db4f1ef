"""The registry of search spaces: the entry point group ``latency_db.spaces``; built-ins take the same door."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from latency_db import documents
from latency_db.errors import InputError, NotFoundError
from latency_db.space import Space

GROUP = "latency_db.spaces"


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """The registered spaces."""
    return sorted(_entry_points())


def create(name: str, **settings: object) -> Space:
    """A space with its settings bound.

    Raises:
        NotFoundError: no such space, or its package does not import.
        InputError: a setting that it does not have, or does not take.
    """
    points = _entry_points()
    if name not in points:
        raise NotFoundError(f"there is no space {name!r}; there are: {', '.join(sorted(points)) or 'none'}")
    try:
        factory = cast("Callable[..., Space]", points[name].load())
    except (ImportError, AttributeError) as error:
        raise NotFoundError(
            f"space {name!r} does not load: {error}", hint="reinstall the package it comes from"
        ) from None
    try:
        return factory(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"space {name!r}: {error}") from None


def parse_settings(pairs: tuple[str, ...]) -> dict[str, object]:
    """``("layers=8", "scales=[8,16]", "output=full")`` as settings: JSON where it parses, else text.

    Raises:
        InputError: no ``=`` in one of them.
    """
    settings: dict[str, object] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise InputError(f"setting {pair!r} is not NAME=VALUE")
        try:
            settings[name] = documents.parse(text)
        except json.JSONDecodeError:
            settings[name] = text
        except ValueError as error:
            raise InputError(f"setting {name}: {error}") from None
    return settings


def digest(space: Space) -> str:
    """A stable identity of a space with its settings."""
    text = json.dumps({"name": space.name, "settings": dict(space.settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
