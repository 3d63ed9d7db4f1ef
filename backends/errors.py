"""What can go wrong between a workload and a device.

Every message names what is wrong; ``hint`` is the command or the step that mends it, where there is one.
"""

from __future__ import annotations


class BackendError(Exception):
    """Base of every error that this package raises for the user."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BackendNotFoundError(BackendError):
    """No backend of that name is registered."""


class RuntimeMissingError(BackendError):
    """The backend is registered but what it runs on is not installed or not usable here."""


class InvalidSettingError(BackendError):
    """A setting that the backend does not know, or a value that it does not take."""


class CompileError(BackendError):
    """This workload could not be exported, built or loaded; other workloads may well be."""
