"""A run while it goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class OpenRun:
    """What ``Store.running`` gives to those who write latencies; what they set is stored when the run is complete.

    Attributes:
        id: of the run, in the database.
        reason: why it ended.
        reference_ms: undisturbed time of the reference workload; None where it is not known.
    """

    id: int
    reason: str | None = None
    reference_ms: float | None = None
