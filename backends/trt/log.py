"""TensorRT's messages: none is printed, errors are kept for whoever asks what went wrong."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def log_of(module: Any) -> Any:
    """The logger of a TensorRT module, one for the whole process: TensorRT remembers the first it is given.

    Its ``take()`` gives the errors since the last time, one line each.
    """

    class Log(module.ILogger):  # type: ignore[misc]  # The base is the module's, and no type checker sees it.
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(module.ILogger.ERROR):
                self.errors.append(message)

        def take(self) -> list[str]:
            taken, self.errors = self.errors, []
            return [" ".join(message.split()) for message in taken]

    return Log()
