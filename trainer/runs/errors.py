"""What can go wrong in a run. One line each."""

from __future__ import annotations

from latency_db.errors import LatencyDbError


class RunError(LatencyDbError):
    """The run cannot go on; what it had is kept."""


class RunFolderError(RunError):
    """A run's folder lacks something, holds something else, or cannot be written."""
