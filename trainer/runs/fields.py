"""Values out of JSON objects that others wrote: each checked, each complaint one line that says where."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from latency_db.errors import InputError

T = TypeVar("T")


def finite(value: object, where: str) -> float:
    """A number that is neither NaN nor infinite; a whole one becomes a float.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InputError(f"{where} is {shortened(value)}, not a finite number")


def shortened(value: object) -> str:
    """A value as a complaint can show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Fields:
    """One JSON object.

    Args:
        document: what should be one.
        where: names it in complaints, as in ``epochs.jsonl, line 3``.

    Raises:
        InputError: it is no object. So do all methods where a key is missing or its value is of another kind.
    """

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, Mapping):
            raise InputError(f"{where} is not a JSON object")
        self._document: Mapping[str, Any] = document
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self._document.get(key) is not None

    def names(self) -> list[str]:
        """The keys, in their order."""
        return list(self._document)

    def _get(self, key: str) -> Any:
        if key not in self._document:
            raise InputError(f"{self.where}: no {key!r}")
        return self._document[key]

    def _of(self, key: str, kind: type[T], what: str) -> T:
        value = self._get(key)
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise InputError(f"{self.where}: {key} is {shortened(value)}, not {what}")
        return value

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """What ``read`` makes of the key; None where the value is null."""
        return None if self._get(key) is None else read(key)

    def text(self, key: str) -> str:
        """A text."""
        return self._of(key, str, "a text")

    def flag(self, key: str) -> bool:
        """True or false."""
        return self._of(key, bool, "true or false")

    def whole(self, key: str) -> int:
        """A whole number."""
        return self._of(key, int, "a whole number")

    def count(self, key: str) -> int:
        """A whole number that is not negative."""
        value = self.whole(key)
        if value < 0:
            raise InputError(f"{self.where}: {key} is {value}, which is below 0")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        return finite(self._get(key), f"{self.where}: {key}")

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        """One of some texts."""
        value = self.text(key)
        if value not in choices:
            raise InputError(f"{self.where}: {key} is {shortened(value)}, not one of {', '.join(choices)}")
        return value

    def items(self, key: str) -> list[Any]:
        """A list, whatever is in it."""
        return self._of(key, list, "a list")

    def object(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self._get(key), f"{self.where}: {key}")

    def objects(self, key: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, f"{self.where}: {key}[{index}]") for index, item in enumerate(self.items(key))]

    def each(self, read_key: Callable[[str], T]) -> dict[T, float]:
        """The whole object as numbers by key.

        Args:
            read_key: makes of a key what it stands for; a ``ValueError`` says that it cannot.
        """
        numbers: dict[T, float] = {}
        for key in self._document:
            try:
                numbers[read_key(key)] = self.number(key)
            except ValueError as error:
                raise InputError(f"{self.where}: {error}") from None
        return numbers
