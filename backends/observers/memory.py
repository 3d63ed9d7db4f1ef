"""The most memory that this process had resident during a visit."""

from __future__ import annotations

import os
from pathlib import Path

from backends.observers.kernel_files import KernelFile, value_of

_RESET_PEAK = b"5"
"""What ``clear_refs`` takes to set the peak back to what is resident now."""


class PeakMemory:
    """Resets the peak that the kernel keeps, and reads it."""

    def __init__(self, proc: Path) -> None:
        self._path = proc / "self" / "clear_refs"
        self._clear: int | None = None
        self._status = KernelFile(proc / "self" / "status")

    def reset(self) -> bool:
        """Begin anew; whether that was permitted. Where it was not, the peak is of the process's whole life."""
        try:
            if self._clear is None:
                self._clear = os.open(self._path, os.O_WRONLY)
            os.pwrite(self._clear, _RESET_PEAK, 0)
        except OSError:
            return False
        return True

    def peak_mib(self) -> float | None:
        """The peak since the reset."""
        kib = (value_of(self._status.read(), "VmHWM:") or "").removesuffix("kB").strip()
        return int(kib) / 1024 if kib.isdecimal() else None

    def close(self) -> None:
        """Close its files."""
        self._status.close()
        if self._clear is not None:
            os.close(self._clear)
            self._clear = None
