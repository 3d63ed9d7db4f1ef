"""``pynvml`` for what observers and clock locks ask of it; as a module in this process, and as one in a folder."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.backends.fake_ort_gpu import CARD, pynvml_with

ME, OTHER = 4321, 1234


def nvml_gpu(**fail: str) -> ModuleType:
    """One GPU that supports everything; its state is what a test changes.

    Args:
        fail: functions that end in an error, and what it says.
    """
    module: Any = pynvml_with(CARD, **fail)
    module.NVML_CLOCK_GRAPHICS, module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM = 0, 1, 2
    module.NVML_TEMPERATURE_GPU = 0
    module.NVML_ERROR_NO_PERMISSION, module.NVML_ERROR_NOT_FOUND = 4, 6
    module.state = SimpleNamespace(
        clocks={0: 1700, 1: 1695, 2: 9751},
        reasons=0,
        processes=[SimpleNamespace(pid=ME, usedGpuMemory=512 * 2**20)],
        samples=[],
        asked_us=[],
        default_mhz=1395,
        mig=False,
        supported=[1800, 1395, 1410, 210],
    )
    state = module.state

    def function(work: Any) -> None:
        def call(*arguments: Any) -> Any:
            if work.__name__ in fail:
                raise module.NVMLError(fail[work.__name__])
            assert module.open == 1, "NVML is used while it is closed"
            return work(*arguments)

        setattr(module, work.__name__, call)

    @function
    def nvmlDeviceGetClockInfo(handle: int, kind: int) -> int:
        return int(state.clocks[kind])

    @function
    def nvmlDeviceGetTemperature(handle: int, sensor: int) -> int:
        return 61

    @function
    def nvmlDeviceGetPowerUsage(handle: int) -> int:
        return 215_300

    @function
    def nvmlDeviceGetCurrentClocksEventReasons(handle: int) -> int:
        return int(state.reasons)

    @function
    def nvmlDeviceGetCurrentClocksThrottleReasons(handle: int) -> int:
        return int(state.reasons)

    @function
    def nvmlDeviceGetComputeRunningProcesses(handle: int) -> list[Any]:
        return list(state.processes)

    @function
    def nvmlDeviceGetProcessUtilization(handle: int, since_us: int) -> list[Any]:
        state.asked_us.append(since_us)
        if not state.samples:
            error = module.NVMLError("Not Found")
            error.value = module.NVML_ERROR_NOT_FOUND
            raise error
        return list(state.samples)

    @function
    def nvmlDeviceIsMigDeviceHandle(handle: int) -> int:
        return int(state.mig)

    @function
    def nvmlDeviceGetDefaultApplicationsClock(handle: int, kind: int) -> int:
        return int(state.default_mhz)

    @function
    def nvmlDeviceGetSupportedMemoryClocks(handle: int) -> list[int]:
        return [9751, 405]

    @function
    def nvmlDeviceGetSupportedGraphicsClocks(handle: int, memory_mhz: int) -> list[int]:
        assert memory_mhz == 9751
        return list(state.supported)

    return module


def busy(pid: int, percent: int) -> Any:
    """A sample of a process's utilization."""
    return SimpleNamespace(pid=pid, smUtil=percent)


def nvml_folder(folder: Path, log: Path, *, refuse: str | None = None) -> Path:
    """A folder with a ``pynvml`` that any process can import and that writes every change of clocks to a file.

    Args:
        folder: where to put it.
        log: that file.
        refuse: ``permission``, or what NVML says when clocks are to be locked.
    """
    folder.mkdir(exist_ok=True)
    folder.joinpath("pynvml.py").write_text(
        textwrap.dedent(
            f"""
            import os, sys, tempfile

            NVML_CLOCK_GRAPHICS = 0
            NVML_ERROR_NO_PERMISSION = 4
            REFUSE, LOG = {refuse!r}, {str(log)!r}

            if sys.argv[0].endswith("clock_guard.py"):
                # Tests run beside each other, and each has this GPU for itself.
                tempfile.tempdir = os.path.dirname(LOG)

            class NVMLError(Exception):
                value = 0

            def _note(line):
                with open(LOG, "a", encoding="utf-8") as file:
                    file.write(line + "\\n")

            nvmlInit = nvmlShutdown = lambda: None
            nvmlDeviceGetCount = lambda: 1
            nvmlDeviceGetHandleByIndex = lambda index: "gpu"
            nvmlDeviceGetHandleByUUID = lambda uuid: uuid
            nvmlDeviceGetName = lambda gpu: {CARD!r}
            nvmlDeviceGetUUID = lambda gpu: "GPU-0aaa"
            nvmlDeviceIsMigDeviceHandle = lambda gpu: 0
            nvmlDeviceGetDefaultApplicationsClock = lambda gpu, kind: 1395
            nvmlDeviceGetSupportedMemoryClocks = lambda gpu: [9751]
            nvmlDeviceGetSupportedGraphicsClocks = lambda gpu, memory: [1395, 1410]

            def nvmlDeviceSetGpuLockedClocks(gpu, least, most):
                if REFUSE:
                    error = NVMLError("Insufficient\\nPermissions" if REFUSE == "permission" else REFUSE)
                    error.value = 4 if REFUSE == "permission" else 3
                    raise error
                _note(f"locked {{gpu}} {{least}} {{most}}")

            def nvmlDeviceResetGpuLockedClocks(gpu):
                _note(f"reset {{gpu}}")
            """
        ),
        encoding="utf-8",
    )
    return folder
