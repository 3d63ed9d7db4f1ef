"""The clock of everything that returns only when it has finished."""

from __future__ import annotations

from time import perf_counter_ns


class PerfCounterClock:
    """Wall time from the monotonic counter. A CPU runner has finished when ``run`` returns: there is no waiting."""

    name = "perf_counter"

    def __init__(self) -> None:
        self._started = 0

    def start(self) -> None:
        """Begin an interval."""
        self._started = perf_counter_ns()

    def stop(self) -> float:
        """The milliseconds since ``start``."""
        return (perf_counter_ns() - self._started) / 1e6
