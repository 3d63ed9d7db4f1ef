"""How often, and for how long, a quota of CPU time stopped this process: by its control groups, of version 1 or 2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backends.observers.kernel_files import KernelFile, value_of

_V1_FOLDERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


@dataclass(frozen=True)
class Throttling:
    """Since the groups were made: in how many periods they were stopped, and for how many ms."""

    periods: int
    stopped_ms: float

    def since(self, before: Throttling) -> Throttling:
        """What came on top."""
        return Throttling(self.periods - before.periods, self.stopped_ms - before.stopped_ms)


class CpuQuota:
    """Reads ``cpu.stat`` of the process's group and of those around it that have a quota: any stops the process.

    A quota that is set later is not noticed: most groups have none, and not reading them is worth it.
    """

    def __init__(self, proc: Path, sys: Path) -> None:
        self._files = [KernelFile(folder / "cpu.stat") for folder in _groups(proc, sys) if _has_quota(folder)]

    def read(self) -> Throttling | None:
        """The sums over the groups; None where no group counts."""
        found = [one for one in (_throttling(file.read()) for file in self._files) if one is not None]
        if not found:
            return None
        return Throttling(sum(one.periods for one in found), sum(one.stopped_ms for one in found))

    def close(self) -> None:
        """Close its files."""
        for file in self._files:
            file.close()


def _groups(proc: Path, sys: Path) -> list[Path]:
    """The folders of the group that limits CPU time and of those around it, the innermost first."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    mounts = sys / "fs" / "cgroup"
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            roots = [mounts, mounts / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [mounts / name for name in _V1_FOLDERS]
        else:
            continue
        for root in roots:
            inner = root / path.lstrip("/")
            # In a container the path may be the host's, and what is mounted is the container's own group.
            folders = [inner, *inner.parents] if inner.is_dir() else [root]
            found += [folder for folder in folders if folder == root or root in folder.parents]
    # Several names of version 1's folder may be links to one.
    return list({folder.resolve(): folder for folder in found if (folder / "cpu.stat").is_file()}.values())


def _has_quota(folder: Path) -> bool:
    for name, without in (("cpu.max", "max"), ("cpu.cfs_quota_us", "-1")):
        try:
            return not (folder / name).read_text(encoding="utf-8").startswith(without)
        except OSError:
            continue  # The other version's, or the outermost group of version 2, which never has a quota.
    return False


def _throttling(text: str | None) -> Throttling | None:
    periods = value_of(text, "nr_throttled ")
    if periods is None:
        return None
    usec = value_of(text, "throttled_usec ")
    # Version 1 counts nanoseconds.
    stopped_ms = int(usec) / 1e3 if usec is not None else int(value_of(text, "throttled_time ") or 0) / 1e6
    return Throttling(int(periods), stopped_ms)
