"""A tree like /proc and /sys, of a machine with two processors, whose counters a test turns."""

from __future__ import annotations

import os
from pathlib import Path

TICK_MS = 1e3 / os.sysconf("SC_CLK_TCK")


class FakeKernel:
    """What observers read.

    Attributes:
        proc, sys: the folders.
        seconds: the time that observers are given.
    """

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys = folder / "proc", folder / "sys"
        self.seconds = 100.0
        self.user, self.stolen = 1000, 20
        self.write(self.proc / "loadavg", "1.25 0.5 0.25 2/93 9660\n")
        self.write(self.proc / "thread-self" / "stat", f"77 (a (name) here) R {' '.join(['0'] * 35)} 1 0 0\n")
        self.write(self.proc / "self" / "clear_refs", "")
        self.write(self.proc / "self" / "status", "Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n")
        self.tick(0, 0)
        self.wait("77", 5_000_000)
        self.wait("78", 0)
        for number, khz in enumerate((1_200_000, 3_400_000)):
            folder = self.sys / "devices" / "system" / "cpu" / f"cpu{number}" / "cpufreq"
            self.write(folder / "scaling_governor", ("performance", "powersave")[number] + "\n")
            self.write(folder / "scaling_cur_freq", f"{khz}\n")
        self.write(
            self.proc / "cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2000.5\n\nprocessor\t: 1\ncpu MHz\t\t: 2445.42\n"
        )
        self.quota_v2("/outer/inner", {"": None, "outer": (0, 0), "outer/inner": (3, 700)})

    def write(self, path: Path, text: str) -> None:
        """The same file with other words: observers keep it open."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def advance(self, ms: float) -> None:
        """Let time pass."""
        self.seconds += ms / 1e3

    def tick(self, busy: int, stolen: int) -> None:
        """Let the processors run, or be stolen, for so many ticks."""
        self.user += busy
        self.stolen += stolen
        line = f"cpu  {self.user} 1 2 50000 600 0 7 {self.stolen} 11 12"
        self.write(self.proc / "stat", f"{line}\ncpu0 0 0 0 0 0 0 0 0 0 0\nintr 5 5 5\n")

    def wait(self, thread: str, ns: int) -> None:
        """How long a thread has waited since it began."""
        self.write(self.proc / "self" / "task" / thread / "schedstat", f"123456 {ns} 42\n")

    def quota_v2(self, path: str, groups: dict[str, tuple[int, int] | None]) -> None:
        """Control groups of version 2: by folder, periods and microseconds; None for a file without them."""
        self.write(self.proc / "self" / "cgroup", f"9:name=systemd:/\n0::{path}\n")
        for folder, stopped in groups.items():
            text = "usage_usec 99\n" if stopped is None else _v2(*stopped)
            self.write(self.sys / "fs" / "cgroup" / folder / "cpu.stat", text)
            if stopped is not None:
                self.write(self.sys / "fs" / "cgroup" / folder / "cpu.max", "50000 100000\n")

    def quota_v1(self, path: str, folder: str, periods: int, ns: int) -> None:
        """Control groups of version 1."""
        self.write(self.proc / "self" / "cgroup", f"5:memory:/other\n4:cpu,cpuacct:{path}\n0::/\n")
        text = f"nr_periods 50\nnr_throttled {periods}\nthrottled_time {ns}\n"
        group = self.sys / "fs" / "cgroup" / "cpu,cpuacct" / folder
        self.write(group / "cpu.stat", text)
        self.write(group / "cpu.cfs_quota_us", "50000\n")


def _v2(periods: int, usec: int) -> str:
    return f"usage_usec 99\nnr_periods 50\nnr_throttled {periods}\nthrottled_usec {usec}\n"
