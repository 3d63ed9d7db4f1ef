"""What /proc and /sys say of the processors as a whole: stolen time, clock, governor, load."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from backends.observers.kernel_files import KernelFile

_LAST_PROCESSOR = 36
"""Where ``stat`` of a thread has the processor that it ran on last, counted from what follows its name."""
_STEAL = 7
_IDLE = (3, 4)


@dataclass(frozen=True)
class Ticks:
    """Of all processors together, since the machine began: clock ticks that they ran, and that were stolen.

    Stolen is what a hypervisor gave to others while a processor had something to run.
    """

    busy: int
    stolen: int

    def since(self, before: Ticks) -> Ticks:
        """What came on top."""
        return Ticks(self.busy - before.busy, self.stolen - before.stolen)


class Processors:
    """Reads them; each value is None where its file is missing."""

    def __init__(self, proc: Path, sys: Path) -> None:
        self._sys = sys
        self._stat = KernelFile(proc / "stat", size=512)  # The first line: the others are of single processors.
        self._thread = KernelFile(proc / "thread-self" / "stat")
        self._load = KernelFile(proc / "loadavg")
        self._cpuinfo = KernelFile(proc / "cpuinfo", size=1 << 18)
        self._governors: dict[int, KernelFile] = {}
        self._clocks: dict[int, KernelFile] = {}

    @property
    def tick_ms(self) -> float:
        """How long a tick is."""
        return 1e3 / os.sysconf("SC_CLK_TCK")

    def ticks(self) -> Ticks | None:
        """The ticks so far."""
        name, *numbers = (self._stat.read() or "").partition("\n")[0].split() or [""]
        if name != "cpu" or len(numbers) <= _STEAL:
            return None
        # The two that follow, of guests, are in the first two already.
        counts = [int(number) for number in numbers[: _STEAL + 1]]
        return Ticks(sum(counts) - counts[_STEAL] - sum(counts[index] for index in _IDLE), counts[_STEAL])

    def last_processor(self) -> int:
        """The number of the processor that this thread ran on last; 0 where it is not said."""
        after_name = (self._thread.read() or "").rpartition(")")[2].split()
        return int(after_name[_LAST_PROCESSOR]) if len(after_name) > _LAST_PROCESSOR else 0

    def governor(self, processor: int) -> str | None:
        """What decides on that processor's clock."""
        return (self._cpufreq(self._governors, processor, "scaling_governor").read() or "").strip() or None

    def frequency_mhz(self, processor: int) -> float | None:
        """That processor's clock now, as the kernel's driver for it or else /proc/cpuinfo has it."""
        khz = self._cpufreq(self._clocks, processor, "scaling_cur_freq").number()
        return khz / 1e3 if khz is not None else self._from_cpuinfo(processor)

    def load_1min(self) -> float | None:
        """How many threads wanted to run, averaged over the last minute."""
        words = (self._load.read() or "").split()
        return float(words[0]) if words else None

    def close(self) -> None:
        """Close its files."""
        fixed = (self._stat, self._thread, self._load, self._cpuinfo)
        for file in (*fixed, *self._governors.values(), *self._clocks.values()):
            file.close()

    def _cpufreq(self, files: dict[int, KernelFile], processor: int, name: str) -> KernelFile:
        if processor not in files:
            folder = self._sys / "devices" / "system" / "cpu" / f"cpu{processor}" / "cpufreq"
            files[processor] = KernelFile(folder / name)
        return files[processor]

    def _from_cpuinfo(self, processor: int) -> float | None:
        number = 0
        for line in (self._cpuinfo.read() or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "processor" and value.strip().isdecimal():
                number = int(value)
            elif key.strip() == "cpu MHz" and number == processor:
                return float(value)
        return None
