"""What goes wrong with data."""

from __future__ import annotations

from latency_db.errors import LatencyDbError


class DataError(LatencyDbError, ValueError):
    """A folder, file or request that gives no data; the message is one line: what was expected and what was found."""
