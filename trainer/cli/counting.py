"""How far a command is that goes through images."""

from __future__ import annotations

import time


class Counting:
    """Says how many of some things are done and when the rest will be, on standard error.

    Args:
        total: how many there are; None where nobody knows.
        what: their name, in the plural.
    """

    def __init__(self, total: int | None, what: str = "images") -> None:
        from trainer.runs.progress import StatusLine

        self.total, self.what = total, what
        self._line = StatusLine()
        self._start = time.monotonic()

    def __call__(self, done: int) -> None:
        """Note that so many are done."""
        if done == self.total:
            self.end()
        elif self._line.due:
            self._line.status(self._text(done))

    def end(self) -> None:
        """Leave the line to what comes next."""
        if self._line.terminal:
            self._line.status("")

    def _text(self, done: int) -> str:
        from trainer.runs.progress import duration

        if self.total is None:
            return f"{done} {self.what}"
        left = (time.monotonic() - self._start) / max(1, done) * (self.total - done)
        return f"{done}/{self.total} {self.what}, about {duration(left)} left"
