"""An NVIDIA GPU, by NVML: asking starts nothing on the device and waits for nothing that runs there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from backends import nvml
from backends.errors import RuntimeMissingError
from backends.observers.protocol import CONTENDED, THROTTLED, Json, Observation

REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""NVML's reasons for a clock that is not the highest, by their bits."""
SLOWED_BY = frozenset(
    {"sw_power_cap", "hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)
"""Those that mean that the GPU would have run faster. Idleness and clocks that somebody set are as they should be."""
BUSY_PERCENT = 5
"""Another process contends where it kept more than this part of the GPU's processors busy: a desktop does not."""
UNSUPPORTED = "NVML does not support it on this GPU"
NOT_LISTED = (
    "NVML does not list this process: it runs nothing on the GPU yet, or NVML counts in another PID namespace, as it "
    "does for a container"
)

_Read = Callable[[], Json | None]


class NvmlObserver:
    """Observes the GPU that CUDA calls device 0 in this process. What NVML does not support there is left out."""

    name = "nvml"

    def __init__(self, *, pid: int | None = None, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """Open NVML, where it is here.

        Args:
            pid: of the process that measures; this one, where none is given.
            now_us: NVML's own time: microseconds since 1970.
        """
        self._pid, self._now_us = pid if pid is not None else os.getpid(), now_us
        self._stack = ExitStack()
        self._api: Any = None
        self._gpu: Any = None
        self._missing: str | None = None
        self._peak_mib = 0.0
        self._reasons = 0
        self._looked_us = now_us()
        try:
            self._api, self._gpu = self._stack.enter_context(nvml.opened())
        except RuntimeMissingError as error:
            self._missing = error.message

    def begin(self) -> None:
        """Note what slows the GPU down before the samples."""
        self._reasons = self._clock_reasons() or 0

    def end(self) -> Observation:
        """What NVML says just after the samples, and of the processes since it was asked last."""
        values = {name: value for name, value in self._readings().items() if value is not None}
        flags = []
        reasons = self._clock_reasons()
        if reasons is not None:
            names = _names(reasons | self._reasons)
            values["gpu_clock_reasons"] = names
            if SLOWED_BY.intersection(names):
                flags.append(THROTTLED)
        values |= self._processes()
        if self._others_busy_percent(values) > BUSY_PERCENT:
            flags.append(CONTENDED)
        return Observation(values=values, flags=tuple(sorted(flags)))

    def sources(self) -> Mapping[str, str | None]:
        """What NVML supports on this GPU. Of processes, only where this one is among them: else nothing is told."""
        if self._missing is not None:
            return {"GPU": self._missing}
        readings: dict[str, object] = {
            **{name.removeprefix("gpu_"): value for name, value in self._readings().items()},
            "clock_reasons": self._clock_reasons(),
        }
        running, utilization = self._running(), self._utilization()
        hidden = None if self._mine(running or []) else NOT_LISTED
        return {
            **{name: UNSUPPORTED if value is None else None for name, value in readings.items()},
            "processes": UNSUPPORTED if running is None else hidden,
            "process_utilization": UNSUPPORTED if running is None or utilization is None else hidden,
        }

    def close(self) -> None:
        """Close NVML."""
        self._stack.close()
        self._api = self._gpu = None
        self._missing = self._missing or "it is closed"

    def _ask(self, function: str, *arguments: object) -> Any:
        """What NVML answers; None where it does not support that, or this version of the bindings does not know it."""
        call = None if self._missing is not None else getattr(self._api, function, None)
        if call is None:
            return None
        try:
            return call(self._gpu, *arguments)
        except self._api.NVMLError:
            return None

    def _constant(self, name: str) -> int:
        return 0 if self._missing is not None else int(getattr(self._api, name))

    def _readings(self) -> dict[str, Json | None]:
        power_mw = self._ask("nvmlDeviceGetPowerUsage")
        return {
            "gpu_sm_clock_mhz": self._ask("nvmlDeviceGetClockInfo", self._constant("NVML_CLOCK_SM")),
            "gpu_memory_clock_mhz": self._ask("nvmlDeviceGetClockInfo", self._constant("NVML_CLOCK_MEM")),
            "gpu_temperature_c": self._ask("nvmlDeviceGetTemperature", self._constant("NVML_TEMPERATURE_GPU")),
            "gpu_power_w": None if power_mw is None else power_mw / 1e3,
        }

    def _clock_reasons(self) -> int | None:
        """The bits; older drivers and bindings call them throttle reasons."""
        found: int | None = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if found is None:
            found = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return found

    def _running(self) -> list[Any] | None:
        found: list[Any] | None = self._ask("nvmlDeviceGetComputeRunningProcesses")
        return found

    def _mine(self, running: list[Any]) -> list[Any]:
        return [process for process in running if process.pid == self._pid]

    def _processes(self) -> dict[str, Json]:
        """Where this process is not among those that NVML lists, its numbers are another namespace's: who of them is
        this one and who another cannot be told, and nothing is said."""
        running = self._running() or []
        mine = self._mine(running)
        if not mine:
            return {}
        found: dict[str, Json] = {"gpu_other_processes": len(running) - len(mine)}
        used_bytes = mine[0].usedGpuMemory
        if used_bytes is not None:
            used_mib = used_bytes / 2**20
            self._peak_mib = max(self._peak_mib, used_mib)
            found |= {"gpu_memory_mib": round(used_mib, 3), "gpu_peak_memory_mib": round(self._peak_mib, 3)}
        return found

    def _utilization(self) -> list[Any] | None:
        """Samples of every process since it was asked last, each of a sixth of a second or more; None unsupported."""
        if self._missing is not None:
            return None
        since_us, self._looked_us = self._looked_us, self._now_us()
        try:
            found: list[Any] = self._api.nvmlDeviceGetProcessUtilization(self._gpu, since_us)
        except self._api.NVMLError as error:
            # That is how it says that there is no sample yet.
            return [] if getattr(error, "value", None) == self._api.NVML_ERROR_NOT_FOUND else None
        return found

    def _others_busy_percent(self, values: dict[str, Json]) -> int:
        """The most that another process kept the GPU busy; noted where it can be told."""
        samples = self._utilization()
        if samples is None or "gpu_other_processes" not in values:
            return 0
        busiest = max((int(sample.smUtil) for sample in samples if sample.pid != self._pid), default=0)
        values["gpu_others_busy_percent"] = busiest
        return busiest


def _names(bits: int) -> tuple[str, ...]:
    known = [name for bit, name in REASONS.items() if bits & bit]
    unknown = bits & ~sum(REASONS)
    return (*known, *([f"0x{unknown:x}"] if unknown else []))
