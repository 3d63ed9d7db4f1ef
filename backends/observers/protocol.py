"""What an observer is: it looks at a device before a visit's samples and after them, and never at a single sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

Json = str | int | float | bool | tuple[str, ...]
"""A plain JSON value; a tuple is a list of text."""

THROTTLED = "throttled"
"""The device was made to run slower: by a quota, by its temperature, by its power."""
CONTENDED = "contended"
"""Others had the processors or the GPU for too large a part of the visit."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen during one visit.

    Attributes:
        values: by name, with the unit in the name; what could not be seen is not there.
        flags: ``THROTTLED``, ``CONTENDED``, both or neither.
    """

    values: Mapping[str, Json] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))


class Observer(Protocol):
    """Looks at one device. It is called between whatever is timed, never raises and never waits for anything."""

    name: str

    def begin(self) -> None:
        """Called before a visit's samples."""

    def end(self) -> Observation:
        """Called after them: what was seen since ``begin``."""

    def sources(self) -> Mapping[str, str | None]:
        """What can be seen here, by what it is: ``None``, or why it cannot be."""

    def close(self) -> None:
        """Give back what it holds. Calling it twice is harmless."""


def merged(observations: Iterable[Observation]) -> Observation:
    """What several observers saw of one visit, as one observation."""
    values: dict[str, Json] = {}
    flags: set[str] = set()
    for observation in observations:
        values |= observation.values
        flags |= set(observation.flags)
    return Observation(values=values, flags=tuple(sorted(flags)))
