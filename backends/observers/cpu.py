"""The CPU, and what this process gets of it: all from /proc and /sys, without privileges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from backends.observers.cgroup import CpuQuota, Throttling
from backends.observers.memory import PeakMemory
from backends.observers.processors import Processors, Ticks
from backends.observers.protocol import CONTENDED, THROTTLED, Json, Observation
from backends.observers.run_queue import RunQueue, waited_ns

# A machine that is shared takes a little away all the time, and that does no harm: the reference workload stands on
# either side of every sample and loses as much, and a visit's value is a median, so it takes half of the samples to
# move it. Only what is too large a part of a visit to fall evenly on samples and references is flagged. Were the bounds
# much lower, a shared machine would lose visits that are as good as the others.
WAITED_SHARE = 0.1
"""A visit is contended where one of the process's threads stood in the run queue for more than this part of it …"""
STOLEN_SHARE = 0.1
"""… or where the hypervisor gave more than this part of the time that the processors had something to do to others."""
GAUGES_S = 1.0
"""Clock and load are read this often at most: they are costly to read and change no faster than they can be told."""


class CpuObserver:
    """Observes the CPU. A source that is missing here is left out of what is seen."""

    name = "cpu"

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Open what there is.

        Args:
            proc: where the kernel tells of processes; another folder in tests.
            sys: where it tells of devices.
            now: seconds, monotonic.
        """
        self._now = now
        self._processors = Processors(proc, sys)
        self._queue = RunQueue(proc)
        self._quota = CpuQuota(proc, sys)
        self._memory = PeakMemory(proc)
        self._began_s = 0.0
        self._ticks: Ticks | None = None
        self._waits: dict[str, int] = {}
        self._throttling: Throttling | None = None
        self._peak_is_new = False
        self._gauged_s = -math.inf
        self._gauges: dict[str, Json] = {}

    def begin(self) -> None:
        """Note the counters."""
        self._peak_is_new = self._memory.reset()
        self._throttling = self._quota.read()
        self._ticks = self._processors.ticks()
        self._waits = self._queue.waits_ns()
        self._began_s = self._now()

    def end(self) -> Observation:
        """The counters' differences, and what clock and load are, or were less than a second ago."""
        observed_ms = (self._now() - self._began_s) * 1e3
        # The counters first: reading the rest takes time, too.
        waits, ticks, throttling = self._queue.waits_ns(), self._processors.ticks(), self._quota.read()
        values: dict[str, Json] = {"observed_ms": round(observed_ms, 3)}
        flags = {
            *self._waited(waits, observed_ms, values),
            *self._stolen(ticks, values),
            *self._throttled(throttling, values),
        }
        if self._now() - self._gauged_s >= GAUGES_S:
            self._gauged_s, self._gauges = self._now(), self._read_gauges()
        values |= self._gauges
        peak_mib = self._memory.peak_mib() if self._peak_is_new else None
        if peak_mib is not None:
            values["peak_resident_mib"] = round(peak_mib, 3)
        return Observation(values=values, flags=tuple(sorted(flags)))

    def _read_gauges(self) -> dict[str, Json]:
        processor = self._processors.last_processor()
        seen = {
            "governor": self._processors.governor(processor),
            "frequency_mhz": self._processors.frequency_mhz(processor),
            "load_1min": self._processors.load_1min(),
        }
        return {name: value for name, value in seen.items() if value is not None}

    def _waited(self, waits: dict[str, int], observed_ms: float, values: dict[str, Json]) -> list[str]:
        if not waits:
            return []
        waited_ms = [wait / 1e6 for wait in waited_ns(self._waits, waits)]
        # An operator on several threads waits for the last of them: the one that waited longest is what counts.
        longest_ms = max(waited_ms)
        values["run_queue_wait_ms"] = round(sum(waited_ms), 3)
        values["run_queue_longest_wait_ms"] = round(longest_ms, 3)
        return [CONTENDED] if longest_ms > WAITED_SHARE * observed_ms else []

    def _stolen(self, ticks: Ticks | None, values: dict[str, Json]) -> list[str]:
        if ticks is None or self._ticks is None:
            return []
        found = ticks.since(self._ticks)
        values["steal_ms"] = round(found.stolen * self._processors.tick_ms, 3)
        # A visit is few ticks long, and the first that is counted may have been stolen nearly whole before the visit
        # began: only the others are certain to be of the visit.
        certain = max(0, found.stolen - 1)
        return [CONTENDED] if certain > STOLEN_SHARE * (found.busy + found.stolen) else []

    def _throttled(self, throttling: Throttling | None, values: dict[str, Json]) -> list[str]:
        if throttling is None or self._throttling is None:
            return []
        found = throttling.since(self._throttling)
        values["cgroup_throttled_periods"] = found.periods
        values["cgroup_throttled_ms"] = round(found.stopped_ms, 3)
        # A quota stops the process for tens of ms at a time: no sample beside such a stop says what the code takes.
        return [THROTTLED] if found.periods > 0 or found.stopped_ms > 0 else []

    def sources(self) -> Mapping[str, str | None]:
        """What this kernel lets this process see."""
        processor = self._processors.last_processor()
        no_cpufreq = "no cpufreq for this processor, as in most virtual machines"
        found = {
            "governor": (self._processors.governor(processor), no_cpufreq),
            "clock frequency": (self._processors.frequency_mhz(processor), f"{no_cpufreq}, and none in /proc/cpuinfo"),
            "load average": (self._processors.load_1min(), "no /proc/loadavg"),
            "steal time": (self._processors.ticks(), "no steal in /proc/stat"),
            "run-queue wait": (self._queue.waits_ns() or None, "no schedstat in /proc/self/task"),
            "cgroup throttling": (self._quota.read(), "no control group around this process has a quota"),
            "peak memory": (
                self._memory.peak_mib() if self._memory.reset() else None,
                "no VmHWM in /proc/self/status, or it may not be reset through /proc/self/clear_refs",
            ),
        }
        return {name: None if value is not None else why for name, (value, why) in found.items()}

    def close(self) -> None:
        """Close the files."""
        for part in (self._processors, self._queue, self._quota, self._memory):
            part.close()
