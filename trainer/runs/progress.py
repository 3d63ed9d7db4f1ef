"""A line on the terminal that says where a long run is."""

from __future__ import annotations

import sys
import time

import click


class StatusLine:
    """One line that rewrites itself on a terminal, a line every so often elsewhere. On standard error.

    Args:
        interval_s: between two lines.
    """

    def __init__(self, interval_s: float | None = None) -> None:
        self.terminal = sys.stderr.isatty()
        self.interval_s = interval_s if interval_s is not None else (0.5 if self.terminal else 30.0)
        self._printed = 0.0

    @property
    def due(self) -> bool:
        """Whether the last line is old enough; asking counts as printing."""
        now = time.monotonic()
        if now - self._printed < self.interval_s:
            return False
        self._printed = now
        return True

    def status(self, text: str) -> None:
        """Say where it is; the next line takes its place on a terminal."""
        click.echo(f"\r\x1b[K{text}" if self.terminal else text, nl=not self.terminal, err=True)

    def note(self, text: str) -> None:
        """Say what stays."""
        click.echo(f"\r\x1b[K{text}" if self.terminal else text, err=True)


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
