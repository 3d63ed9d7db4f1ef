"""How long this process's threads stood in the run queue: ready to run, while others had the processors."""

from __future__ import annotations

import os
from pathlib import Path

from backends.observers.kernel_files import KernelFile


class RunQueue:
    """Reads ``run_delay`` of every thread: the second number of its ``schedstat``, in ns since the thread began."""

    def __init__(self, proc: Path) -> None:
        self._tasks = proc / "self" / "task"
        self._files: dict[str, KernelFile] = {}

    def waits_ns(self) -> dict[str, int]:
        """By thread, its wait since it began; empty where the kernel does not count."""
        try:
            threads = os.listdir(self._tasks)
        except OSError:
            return {}
        for thread in self._files.keys() - set(threads):
            self._files.pop(thread).close()
        found = {}
        for thread in threads:
            file = self._files.get(thread)
            if file is None:
                file = self._files[thread] = KernelFile(self._tasks / thread / "schedstat")
            numbers = (file.read() or "").split()
            if len(numbers) == 3:
                found[thread] = int(numbers[1])
        return found

    def close(self) -> None:
        """Close its files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def waited_ns(before: dict[str, int], after: dict[str, int]) -> list[int]:
    """Of every thread, how long it waited in between. One that began in between waited since it began."""
    return [wait - before.get(thread, 0) for thread, wait in after.items()]
