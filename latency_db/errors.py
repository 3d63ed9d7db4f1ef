"""What can go wrong around the latency database. One short line each."""

from __future__ import annotations


class LatencyDbError(Exception):
    """Base of every error that this package, and what builds on it, raises for the user: programs print it as one line.

    Args:
        message: what is wrong.
        hint: the command or the step that mends it, where there is one.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class StorageError(LatencyDbError):
    """The database cannot be opened, read or written."""


class SchemaError(StorageError):
    """The database is there, but its schema is not the one this version works with."""


class NotFoundError(LatencyDbError):
    """The database has no such thing."""


class AmbiguousTargetError(LatencyDbError):
    """Several targets match where one is needed."""


class InputError(LatencyDbError):
    """An argument that makes no sense."""


class ImportFormatError(LatencyDbError):
    """A file that is not what it is said to be."""


class PredictionError(LatencyDbError):
    """A latency that the stored measurements cannot give."""


class JobError(LatencyDbError):
    """A job of the queue that did not bring all it was asked for, or cannot be done."""
