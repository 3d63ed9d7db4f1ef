"""The little of CUDA that a runtime needs which brings no memory, streams and events of its own.

Two drivers behind one class: cuda-python where it is installed, pycuda where it is not, as on stacks that are old
enough for a Pascal card. Every error of either is a ``CudaError`` with the error's name.
"""

from __future__ import annotations

import atexit
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np

from backends.compiling import first_line
from backends.errors import BackendError, RuntimeMissingError
from backends.protocol import Array, Shape
from backends.runtimes import BROKEN

INSTALL = "pip install cuda-python"
DRIVER = "install an NVIDIA driver; nvidia-smi shows whether it works"
OUT_OF_MEMORY = ("cudaErrorMemoryAllocation", "MemoryError")
"""What the two drivers call it."""


class CudaError(BackendError):
    """A call into CUDA failed.

    Attributes:
        name: of the error, as CUDA or the driver has it.
    """

    def __init__(self, call: str, name: str, said: str = "") -> None:
        super().__init__(f"CUDA: {call} failed: {name}{': ' if said else ''}{said}")
        self.name = name


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """The device."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    driver_version: str


class Cuda(ABC):
    """Device 0 of those that CUDA_VISIBLE_DEVICES leaves. Addresses and streams are integers; the rest is opaque."""

    name: str

    @abstractmethod
    def gpu(self) -> Gpu:
        """What the device is."""

    @abstractmethod
    def allocate(self, size_bytes: int) -> int:
        """Memory on the device; its address."""

    @abstractmethod
    def free(self, address: int) -> None:
        """Give memory back."""

    @abstractmethod
    def upload(self, address: int, array: Array) -> None:
        """Copy a C-contiguous array to the device; it is there on return."""

    @abstractmethod
    def download(self, address: int, shape: Shape, dtype: Any) -> Array:
        """Copy an array from the device."""

    @abstractmethod
    def create_stream(self) -> int:
        """A stream; its handle."""

    @abstractmethod
    def synchronize(self, stream: int) -> None:
        """Wait until the stream is empty."""

    @abstractmethod
    def create_event(self) -> Any:
        """An event that can time."""

    @abstractmethod
    def record(self, event: Any, stream: int) -> None:
        """Put the event into the stream."""

    @abstractmethod
    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Wait for ``end``; the milliseconds between the two."""

    @abstractmethod
    def capture(self, stream: int, enqueue: Callable[[], None]) -> Any:
        """What ``enqueue`` puts into the stream, as a graph, without running it."""

    @abstractmethod
    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a captured graph."""

    @abstractmethod
    def free_graph(self, graph: Any) -> None:
        """Give a graph back."""


class CudaEventClock:
    """Time on the device between two events in one stream, around what was enqueued and nothing else."""

    name = "cuda_events"

    def __init__(self, cuda: Cuda, stream: int) -> None:
        self._cuda, self._stream = cuda, stream
        self._begin, self._end = cuda.create_event(), cuda.create_event()

    def start(self) -> None:
        """Put the first event into the stream."""
        self._cuda.record(self._begin, self._stream)

    def stop(self) -> float:
        """Put the second in, wait for it, and return the milliseconds between the two."""
        self._cuda.record(self._end, self._stream)
        return self._cuda.elapsed_ms(self._begin, self._end)


class CudaPython(Cuda):
    """The runtime API by cuda-python.

    Args:
        runtime: its module.
    """

    name = "cuda-python"

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        (count,) = self._call("cudaGetDeviceCount")
        if count < 1:
            raise CudaError("cudaGetDeviceCount", "cudaErrorNoDevice")

    def _call(self, function: str, *arguments: Any) -> list[Any]:
        """Every function returns its status and then its values."""
        try:
            status, *values = cast("tuple[Any, ...]", getattr(self._runtime, function)(*arguments))
        except RuntimeError as error:  # The bindings find no library of a driver to pass the call on to.
            raise CudaError(function, type(error).__name__, first_line(error).partition(": ")[2]) from error
        if int(status) != 0:
            raise CudaError(function, status.name)
        return values

    def gpu(self) -> Gpu:
        """What the device is."""
        (properties,) = self._call("cudaGetDeviceProperties", 0)
        (driver,) = self._call("cudaDriverGetVersion")
        return Gpu(
            name=properties.name.decode().rstrip("\0"),
            capability=(int(properties.major), int(properties.minor)),
            memory_bytes=int(properties.totalGlobalMem),
            driver_version=_version(int(driver)),
        )

    def allocate(self, size_bytes: int) -> int:
        """Memory on the device; its address."""
        (address,) = self._call("cudaMalloc", size_bytes)
        return int(address)

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def upload(self, address: int, array: Array) -> None:
        """Copy an array to the device; it is there on return."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpy", address, array.ctypes.data, array.nbytes, kind)
        self._call("cudaDeviceSynchronize")  # From pageable memory the copy itself returns before it has arrived.

    def download(self, address: int, shape: Shape, dtype: Any) -> Array:
        """Copy an array from the device."""
        array = np.empty(shape, dtype)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpy", array.ctypes.data, address, array.nbytes, kind)
        return array

    def create_stream(self) -> int:
        """A stream; its handle."""
        (stream,) = self._call("cudaStreamCreate")
        return int(stream)

    def synchronize(self, stream: int) -> None:
        """Wait until the stream is empty."""
        self._call("cudaStreamSynchronize", stream)

    def create_event(self) -> Any:
        """An event that can time."""
        (event,) = self._call("cudaEventCreate")
        return event

    def record(self, event: Any, stream: int) -> None:
        """Put the event into the stream."""
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Wait for ``end``; the milliseconds between the two."""
        self._call("cudaEventSynchronize", end)
        (elapsed,) = self._call("cudaEventElapsedTime", begin, end)
        return float(elapsed)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Any:
        """What ``enqueue`` puts into the stream, as a graph, without running it."""
        self._call(
            "cudaStreamBeginCapture", stream, self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        try:
            enqueue()
        except BaseException:
            self._runtime.cudaStreamEndCapture(stream)  # Its status says only that the capture was broken off.
            raise
        (graph,) = self._call("cudaStreamEndCapture", stream)
        try:
            (executable,) = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        return executable

    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a captured graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)


class PyCuda(Cuda):
    """The driver API by pycuda, in the primary context, which is the one that the runtime API of others uses.

    Args:
        driver: the module ``pycuda.driver``.
    """

    name = "pycuda"

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        with self._translated("cuInit"):
            driver.init()
            self._device = driver.Device(0)
            context = self._device.retain_primary_context()
            context.push()
        atexit.register(context.pop)  # pycuda aborts the process over a context that is left at its end.
        self._allocations: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}

    @contextmanager
    def _translated(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise CudaError(call, type(error).__name__, first_line(error).partition(": ")[2]) from error

    def gpu(self) -> Gpu:
        """What the device is."""
        with self._translated("cuDeviceGet"):
            return Gpu(
                name=self._device.name(),
                capability=self._device.compute_capability(),
                memory_bytes=self._device.total_memory(),
                driver_version=_version(self._driver.get_driver_version()),
            )

    def allocate(self, size_bytes: int) -> int:
        """Memory on the device; its address."""
        with self._translated("cuMemAlloc"):
            allocation = self._driver.mem_alloc(size_bytes)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """Give memory back."""
        with self._translated("cuMemFree"):
            self._allocations.pop(address).free()

    def upload(self, address: int, array: Array) -> None:
        """Copy an array to the device; it is there on return."""
        with self._translated("cuMemcpyHtoD"):
            self._driver.memcpy_htod(address, array)
            self._driver.Context.synchronize()

    def download(self, address: int, shape: Shape, dtype: Any) -> Array:
        """Copy an array from the device."""
        array = np.empty(shape, dtype)
        with self._translated("cuMemcpyDtoH"):
            self._driver.memcpy_dtoh(array, address)
        return array

    def create_stream(self) -> int:
        """A stream; its handle."""
        with self._translated("cuStreamCreate"):
            stream = self._driver.Stream()
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def synchronize(self, stream: int) -> None:
        """Wait until the stream is empty."""
        with self._translated("cuStreamSynchronize"):
            self._streams[stream].synchronize()

    def create_event(self) -> Any:
        """An event that can time."""
        with self._translated("cuEventCreate"):
            return self._driver.Event()

    def record(self, event: Any, stream: int) -> None:
        """Put the event into the stream."""
        with self._translated("cuEventRecord"):
            event.record(self._streams[stream])

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Wait for ``end``; the milliseconds between the two."""
        with self._translated("cuEventElapsedTime"):
            end.synchronize()
            return float(begin.time_till(end))

    def capture(self, stream: int, enqueue: Callable[[], None]) -> Any:
        """Refuse: the versions of pycuda that old stacks have know no graphs."""
        raise RuntimeMissingError("pycuda captures no CUDA graphs", hint=INSTALL)

    def launch(self, graph: Any, stream: int) -> None:
        """Refuse, as there is none."""
        raise RuntimeMissingError("pycuda launches no CUDA graphs", hint=INSTALL)

    def free_graph(self, graph: Any) -> None:
        """Refuse, as there is none."""
        raise RuntimeMissingError("pycuda frees no CUDA graphs", hint=INSTALL)


@cache
def open_cuda() -> Cuda:
    """The device, by cuda-python or else by pycuda: the same object each time.

    Raises:
        RuntimeMissingError: neither is installed, or there is no driver or no device.
    """
    opened: tuple[tuple[tuple[str, ...], Callable[[Any], Cuda]], ...] = (
        (("cuda.bindings.runtime", "cuda.cudart"), CudaPython),  # The second is its name in versions before 12.6.
        (("pycuda.driver",), PyCuda),
    )
    for names, make in opened:
        module = _imported(names)
        if module is not None:
            try:
                return make(module)
            except CudaError as error:
                raise RuntimeMissingError(f"no CUDA device can be used: {error.message}", hint=DRIVER) from error
    raise RuntimeMissingError("neither cuda-python nor pycuda is installed", hint=INSTALL)


def _imported(names: tuple[str, ...]) -> Any | None:
    """The first of the modules that is installed."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise RuntimeMissingError(f"{name} cannot be imported: {first_line(error)}", hint=INSTALL) from error
        except BROKEN as error:  # Most often a library that the module loads, such as the driver's.
            raise RuntimeMissingError(f"{name} cannot be imported: {first_line(error)}", hint=DRIVER) from error
    return None


def _version(number: int) -> str:
    """12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"
