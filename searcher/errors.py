"""What can go wrong in a search. One line each."""

from __future__ import annotations

from trainer.runs.errors import RunError


class SearchError(RunError):
    """The search cannot go on; what it had is kept."""
