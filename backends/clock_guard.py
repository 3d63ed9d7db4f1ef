"""A small process that locks a GPU's clocks and resets them when whoever started it is gone, however it went.

It is run as a file: it needs nothing of this package. It reads its standard input, which nobody writes to and which the
kernel closes when the other side ends, be it by SIGKILL; then it resets the clocks and ends. On standard output it says
``locked``, or ``refused`` and NVML's words in one line.
"""

from __future__ import annotations

import signal
import sys


def main(uuid: str, mhz: int) -> int:
    """Lock, wait, reset.

    Args:
        uuid: of the GPU.
        mhz: the graphics clock.
    """
    import pynvml

    # Ctrl-C and a service's SIGTERM may go to every process there is: this one has to outlive the others.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
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
