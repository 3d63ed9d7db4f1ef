"""What can go wrong in a search. One line each."""

from __future__ import annotations

from latency_db.errors import LatencyDbError


class SearchError(LatencyDbError):
    """The search cannot go on; what it had is kept."""


class RunFolderError(SearchError):
    """A run's folder lacks something, holds something else, or cannot be written."""
