"""Which version of a native library this process has loaded."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def loaded_version(library: str, function: str) -> int | None:
    """What a library says of its own version; None where it is not loaded.

    Args:
        library: its name without what follows ``.so``, as in ``libcudnn``.
        function: one of its own that takes nothing and returns the version as a number.
    """
    # address, permissions, offset, device, inode, path
    pattern = re.compile(rf"^(?:\S+ +){{5}}(/.*/{re.escape(library)}\.so[.\d]*)$", re.MULTILINE)
    try:
        found = pattern.search(_MAPS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None  # Not Linux.
    if found is None:
        return None
    return int(getattr(ctypes.CDLL(found[1]), function)())
