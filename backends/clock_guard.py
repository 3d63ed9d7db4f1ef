"""A small process that locks a GPU's clocks and resets them when whoever started it is gone, however it went.

It is run as a file: it needs nothing of this package. It reads its standard input, which nobody writes to and which the
kernel closes when the other side ends, be it by SIGKILL; then it resets the clocks and ends. On standard output it says
``locked``; ``busy`` where another guard has this GPU; or ``forbidden`` or ``refused``, and why, in one line.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout


def lock_of(uuid: str) -> FileLock:
    """What at most one guard of a GPU holds.

    It is seen by processes of one user that share a folder for temporary files. Clocks are root's to lock, so that is
    all of a machine, but not what runs in different containers.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    return FileLock(Path(tempfile.gettempdir()) / f"latency-db-clocks-{uuid}-{user}.lock")


def main(uuid: str, mhz: int) -> int:
    """Lock, wait, reset; the only one to do so with this GPU.

    The guard holds the lock, and not who started it: that one may be gone before the clocks are reset.

    Args:
        uuid: of the GPU.
        mhz: the graphics clock.
    """
    import pynvml

    # Ctrl-C and a service's SIGTERM may go to every process there is: this one has to outlive the others.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        lock = lock_of(uuid)
        lock.acquire(timeout=0)
    except (Timeout, OSError) as error:
        print("busy" if isinstance(error, Timeout) else f"refused {error}", flush=True)
        return 1
    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceSetGpuLockedClocks(gpu, mhz, mhz)
    except pynvml.NVMLError as error:
        permission = getattr(error, "value", None) == pynvml.NVML_ERROR_NO_PERMISSION
        print("forbidden" if permission else "refused", " ".join(str(error).split()), flush=True)
        return 1
    try:
        _tell_and_wait()
    finally:
        pynvml.nvmlDeviceResetGpuLockedClocks(gpu)
    pynvml.nvmlShutdown()
    return 0


def _tell_and_wait() -> None:
    try:
        print("locked", flush=True)
    except BrokenPipeError:
        return  # The other side is gone already.
    sys.stdin.buffer.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
