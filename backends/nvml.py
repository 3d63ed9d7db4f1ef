"""What an NVIDIA GPU is, by NVML: its Python bindings need no CUDA, and asking starts nothing on the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends.compiling import first_line
from backends.errors import RuntimeMissingError
from backends.protocol import SettingValue
from backends.runtimes import BROKEN, again

INSTALL = "pip install nvidia-ml-py"
DRIVER = "install an NVIDIA driver; nvidia-smi shows whether it works"


@dataclass(frozen=True, kw_only=True)
class NvmlGpu:
    """One GPU."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    driver: str

    @property
    def environment(self) -> dict[str, SettingValue]:
        """What it adds to the description of a machine."""
        return {
            "gpu": self.name,
            "gpu_memory_gib": round(self.memory_bytes / 2**30, 1),
            "gpu_capability": "{}.{}".format(*self.capability),
            "driver": self.driver,
        }


def first_gpu() -> NvmlGpu:
    """The GPU that CUDA calls device 0 in this process.

    Raises:
        RuntimeMissingError: the bindings are not installed, there is no driver or no GPU, or which one it is cannot be
            told.
    """
    with opened() as (pynvml, handle):
        capability = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        return NvmlGpu(
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            capability=(int(capability[0]), int(capability[1])),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            driver=_text(pynvml.nvmlSystemGetDriverVersion()),
        )


@contextmanager
def opened() -> Iterator[tuple[Any, Any]]:
    """The bindings, ready for use as long as the block goes on, and the handle of CUDA's device 0.

    Errors of NVML's that leave the block are translated, too.

    Raises:
        RuntimeMissingError: as :func:`first_gpu`.
    """
    try:
        import pynvml
    except BROKEN as error:
        raise RuntimeMissingError(
            f"the GPU cannot be described, pynvml cannot be imported: {first_line(error)}",
            hint=INSTALL if isinstance(error, ModuleNotFoundError) else again(INSTALL),
        ) from error
    with _translated(pynvml):
        pynvml.nvmlInit()
        try:
            yield pynvml, _first_visible(pynvml)
        finally:
            pynvml.nvmlShutdown()


def uuid_of(pynvml: Any, handle: Any) -> str:
    """What tells a GPU from all others, in every process."""
    return _text(pynvml.nvmlDeviceGetUUID(handle))


@contextmanager
def _translated(pynvml: Any) -> Iterator[None]:
    try:
        yield
    except pynvml.NVMLError as error:
        raise RuntimeMissingError(f"no NVIDIA GPU can be used: {first_line(error)}", hint=DRIVER) from error


def _first_visible(pynvml: Any) -> Any:
    """The handle of CUDA's device 0.

    NVML counts by PCI bus and knows nothing of CUDA_VISIBLE_DEVICES; CUDA counts the fastest first unless
    CUDA_DEVICE_ORDER says otherwise. Where GPUs of several kinds leave it open which one is meant, that is an error.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = int(pynvml.nvmlDeviceGetCount())
    first = "0" if visible is None else visible.split(",")[0].strip()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    if first.startswith("MIG-"):
        return pynvml.nvmlDeviceGetHandleByUUID(first)
    if first.startswith("GPU-"):
        named = [handle for handle in handles if _text(pynvml.nvmlDeviceGetUUID(handle)).startswith(first)]
    else:
        named = handles[int(first) : int(first) + 1] if first.isdecimal() else []
    if not named:
        said = f"none of {count} GPUs is CUDA_VISIBLE_DEVICES={visible}" if visible is not None else "there is no GPU"
        raise RuntimeMissingError(f"no NVIDIA GPU can be used: {said}", hint=DRIVER)
    by_bus = first.startswith("GPU-") or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    names = {_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles}
    if not by_bus and len(names) > 1:
        raise RuntimeMissingError(
            f"which GPU CUDA takes is not known: there are {', '.join(sorted(names))}",
            hint="choose one by nvidia-smi's number: CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=N",
        )
    return named[0]


def _text(value: str | bytes) -> str:
    """Older versions of the bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else value
