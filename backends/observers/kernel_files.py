"""Files of the kernel that are read again and again: a visit is short, and opening them costs more than reading."""

from __future__ import annotations

import os
from pathlib import Path

_CHUNK = 1 << 12


class KernelFile:
    """A file of /proc or /sys, opened at the first read and kept open."""

    def __init__(self, path: Path, size: int = _CHUNK) -> None:
        """No more than ``size`` bytes of it are read."""
        self.path, self._size = path, size
        self._descriptor: int | None = None

    def read(self) -> str | None:
        """What it says now; None where it is missing or may not be read, or what it was about is gone."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY)
            return os.pread(self._descriptor, self._size, 0).decode("utf-8", "replace")
        except OSError:
            return None

    def number(self) -> int | None:
        """The integer that is all it says; None as for :meth:`read`, or where it says something else."""
        text = self.read()
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def close(self) -> None:
        """Close it; the next read opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def value_of(text: str | None, name: str) -> str | None:
    """What stands behind a name at the beginning of a line; ``name`` ends with what separates the two."""
    _, found, rest = f"\n{text}".partition(f"\n{name}")
    return rest.partition("\n")[0].strip() if found else None
