"""What goes wrong with data."""

from __future__ import annotations


class DataError(ValueError):
    """A folder, file or request that gives no data; the message is one line: what was expected and what was found."""
