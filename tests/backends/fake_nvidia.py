"""Fakes of CUDA's two Python drivers and of TensorRT's Python API, over memory of this process.

They hold what the code under test says to those APIs, not what the real ones make of it: an "engine" is the ONNX graph,
and running it is ONNX Runtime on the CPU. The names, the signatures and what is missing in which version are the real
ones'.
"""

from __future__ import annotations

import ctypes
import enum
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from backends.cuda import open_cuda

GPU = "NVIDIA GeForce GTX 1080 Ti"


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100


class Device:
    """What both drivers see.

    Attributes:
        failing: by function, the status (or the error of pycuda) that it ends in.
        memory: by address, what is allocated.
        launches: how often a graph was replayed, and ``enqueued`` how often an engine was.
    """

    def __init__(self) -> None:
        self.failing: dict[str, Any] = {}
        self.memory: dict[int, Any] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.launches = self.enqueued = 0

    def allocate(self, size: int) -> int:
        buffer = (ctypes.c_char * size)()
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def enqueue(self, work: Callable[[], None]) -> None:
        if self.recording is not None:
            self.recording.append(work)
        else:
            work()


def cuda_runtime(device: Device) -> ModuleType:
    """``cuda.bindings.runtime``: every function returns a tuple that begins with its status."""
    module: Any = ModuleType("cuda.bindings.runtime")

    def function(work: Callable[..., tuple[Any, ...]]) -> None:
        def call(*arguments: Any) -> tuple[Any, ...]:
            status = device.failing.get(work.__name__, Status.cudaSuccess)
            if isinstance(status, Exception):
                raise status
            return (status,) if status else (Status.cudaSuccess, *work(*arguments))

        setattr(module, work.__name__, call)

    @function
    def cudaGetDeviceCount() -> tuple[int]:
        return (1,)

    @function
    def cudaGetDeviceProperties(index: int) -> tuple[Any]:
        return (SimpleNamespace(name=GPU.encode() + b"\0\0", major=6, minor=1, totalGlobalMem=11 * 2**30),)

    @function
    def cudaDriverGetVersion() -> tuple[int]:
        return (12040,)

    @function
    def cudaMalloc(size: int) -> tuple[int]:
        return (device.allocate(size),)

    @function
    def cudaFree(address: int) -> tuple[()]:
        del device.memory[address]
        return ()

    @function
    def cudaMemcpy(to: int, source: int, size: int, kind: str) -> tuple[()]:
        assert (to if kind == "to the device" else source) in device.memory
        ctypes.memmove(to, source, size)
        return ()

    @function
    def cudaDeviceSynchronize() -> tuple[()]:
        return ()

    @function
    def cudaStreamCreate() -> tuple[int]:
        return (7,)

    @function
    def cudaStreamSynchronize(stream: int) -> tuple[()]:
        assert stream == 7
        return ()

    @function
    def cudaEventCreate() -> tuple[Any]:
        return (SimpleNamespace(at=None),)

    @function
    def cudaEventRecord(event: Any, stream: int) -> tuple[()]:
        assert stream == 7
        event.at = time.perf_counter()
        return ()

    @function
    def cudaEventSynchronize(event: Any) -> tuple[()]:
        assert event.at is not None
        return ()

    @function
    def cudaEventElapsedTime(begin: Any, end: Any) -> tuple[float]:
        return ((end.at - begin.at) * 1e3,)

    @function
    def cudaStreamBeginCapture(stream: int, mode: str) -> tuple[()]:
        assert mode == "thread local" and device.recording is None
        device.recording = []
        return ()

    @function
    def cudaStreamEndCapture(stream: int) -> tuple[Any]:
        recorded, device.recording = device.recording, None
        return (recorded,)

    @function
    def cudaGraphInstantiate(graph: Any, flags: int) -> tuple[Any]:
        return (list(graph),)

    @function
    def cudaGraphDestroy(graph: Any) -> tuple[()]:
        graph.clear()
        return ()

    @function
    def cudaGraphExecDestroy(graph: Any) -> tuple[()]:
        graph.clear()
        return ()

    @function
    def cudaGraphLaunch(graph: Any, stream: int) -> tuple[()]:
        device.launches += 1
        for work in graph:
            work()
        return ()

    module.cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice="to the device", cudaMemcpyDeviceToHost="from the device"
    )
    module.cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread local")
    return module


def pycuda_driver(device: Device) -> ModuleType:
    """``pycuda.driver``: objects, and exceptions derived from ``Error``."""
    module: Any = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    def fail(function: str) -> None:
        if function in device.failing:
            raise type(device.failing[function], (Error,), {})(f"{function} failed: as the test wants it")

    class Allocation:
        def __init__(self, size: int) -> None:
            fail("cuMemAlloc")
            self.address = device.allocate(size)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            del device.memory[self.address]

    class FakeGpu:
        def __init__(self, index: int) -> None:
            fail("cuDeviceGet")

        def name(self) -> str:
            return GPU

        def compute_capability(self) -> tuple[int, int]:
            return (6, 1)

        def total_memory(self) -> int:
            return 11 * 2**30

        def retain_primary_context(self) -> Any:
            return SimpleNamespace(push=lambda: None, pop=lambda: None)

    class Stream:
        handle = 7

        def synchronize(self) -> None:
            fail("cuStreamSynchronize")

    class Event:
        def record(self, stream: Stream) -> None:
            self.at = time.perf_counter()

        def synchronize(self) -> None:
            assert self.at

        def time_till(self, other: Event) -> float:
            return (other.at - self.at) * 1e3

    def memcpy_htod(address: int, array: np.ndarray[Any, Any]) -> None:
        assert address in device.memory
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def memcpy_dtoh(array: np.ndarray[Any, Any], address: int) -> None:
        assert address in device.memory
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    module.__dict__.update(
        Error=Error,
        Device=FakeGpu,
        Stream=Stream,
        Event=Event,
        Context=SimpleNamespace(synchronize=lambda: None),
        init=lambda: fail("cuInit"),
        mem_alloc=Allocation,
        memcpy_htod=memcpy_htod,
        memcpy_dtoh=memcpy_dtoh,
        get_driver_version=lambda: 12040,
    )
    return module


class _Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING = _Severity


class _Mode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class _DataType(enum.Enum):
    FLOAT = 1
    HALF = 2


class _ParserError:
    def desc(self) -> str:
        return "no importer for this\nat length"

    def __str__(self) -> str:
        return "In node 0 (Oddity): no importer for this\nat length"


def tensorrt(device: Device, version: str) -> ModuleType:
    """TensorRT of a version from 8.6 to 11, or TensorRT-RTX 1.x."""
    rtx, major = version.startswith("1."), int(version.partition(".")[0])
    typed = rtx or major >= 11
    module: Any = ModuleType("tensorrt_rtx" if rtx else "tensorrt")
    said: dict[str, Any] = {
        "built": [],
        "timings": [],
        "calibrated": None,
        "kernels": [],
        "refuse": None,
        "capturable": True,
    }

    class Network:
        graph: bytes

    class Parser:
        num_errors = 0

        def __init__(self, network: Network, log: Any) -> None:
            self.network = network

        def parse(self, graph: bytes) -> bool:
            if any(node.op_type == "Oddity" for node in onnx.load_model_from_string(graph).graph.node):
                self.num_errors = 2
                return False
            self.network.graph = graph
            return True

        def get_error(self, index: int) -> _ParserError:
            return _ParserError()

    class Config:
        num_compute_capabilities = 0
        int8_calibrator: Any = None
        timing: Any = None

        def __init__(self) -> None:
            self.flags = {module.BuilderFlag.TF32}
            self.capabilities: dict[int, str] = {}

        def set_flag(self, flag: Any) -> None:
            self.flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self.flags.discard(flag)

        def create_timing_cache(self, serialized: bytes) -> Any:
            return SimpleNamespace(content=serialized, serialize=lambda: b"timings")

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            said["timings"].append(cache.content)
            self.timing = cache
            return cache.content in (b"", b"timings")

        def set_compute_capability(self, capability: Any, index: int) -> bool:
            if not rtx or index >= self.num_compute_capabilities:
                return False
            self.capabilities[index] = capability.name
            return True

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log

        def create_network(self, flags: int) -> Network:
            assert flags == (1 if not rtx and major < 11 else 0)
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            self.log.log(_Severity.WARNING, "of no interest")
            if said["refuse"]:
                self.log.log(_Severity.ERROR, said["refuse"])
                return None
            if config.int8_calibrator is not None:
                calibrator = config.int8_calibrator
                names = [info.name for info in onnx.load_model_from_string(network.graph).graph.input]
                addresses = calibrator.get_batch(names)
                said["calibrated"] = (calibrator.get_batch_size(), [address in device.memory for address in addresses])
                assert calibrator.get_batch(names) is None
            flags = sorted(flag.name for flag in config.flags)
            said["built"].append((flags, list(config.capabilities.values())))
            return network.graph

    class Context:
        def __init__(self, graph: bytes) -> None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self.addresses: dict[str, int] = {}
            if rtx:
                self.is_stream_capturable = lambda stream: bool(said["capturable"])

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return address in device.memory

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert stream_handle == 7
            device.enqueued += 1
            device.enqueue(self._run)
            return said["refuse"] is None

        def _run(self) -> None:
            feeds = {}
            for info in self.session.get_inputs():
                count = int(np.prod(info.shape))
                memory = device.memory[self.addresses[info.name]]
                feeds[info.name] = np.frombuffer(memory, np.float32, count).reshape(info.shape)
            names = [info.name for info in self.session.get_outputs()]
            for name, array in zip(names, self.session.run(names, feeds), strict=True):
                ctypes.memmove(self.addresses[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)

    class Engine:
        def __init__(self, graph: bytes) -> None:
            self.graph = graph
            parsed = onnx.load_model_from_string(graph).graph
            self.io = [(info, _Mode.INPUT) for info in parsed.input] + [(info, _Mode.OUTPUT) for info in parsed.output]
            self.num_io_tensors = len(self.io)
            if rtx:
                self.create_runtime_config = RuntimeConfig

        def get_tensor_name(self, index: int) -> str:
            return str(self.io[index][0].name)

        def _of(self, name: str) -> tuple[Any, _Mode]:
            return next((info, mode) for info, mode in self.io if info.name == name)

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(size.dim_value for size in self._of(name)[0].type.tensor_type.shape.dim)

        def get_tensor_dtype(self, name: str) -> _DataType:
            return _DataType.FLOAT

        def get_tensor_mode(self, name: str) -> _Mode:
            return self._of(name)[1]

        def create_execution_context(self, config: Any = None) -> Context:
            assert (config is not None) == rtx
            return Context(self.graph)

    class RuntimeConfig:
        def create_runtime_cache(self) -> Any:
            def deserialize(content: bytes) -> bool:
                said["kernels"].append(content)
                return True

            return SimpleNamespace(deserialize=deserialize, serialize=lambda: b"kernels")

        def set_runtime_cache(self, cache: Any) -> bool:
            return True

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, engine: bytes) -> Engine | None:
            if engine == b"not an engine":
                self.log.log(_Severity.ERROR, "magic tag does not match\n")
                return None
            return Engine(engine)

    class Calibrator:
        pass

    module.__version__ = version
    module.ILogger = _Logger
    module.OnnxParser, module.Builder, module.Runtime = Parser, Builder, Runtime
    module.IBuilderConfig, module.ICudaEngine, module.IExecutionContext = Config, Engine, Context
    module.IRuntimeConfig = RuntimeConfig
    module.BuilderFlag = enum.Enum("BuilderFlag", ["TF32"] if typed else ["TF32", "FP16", "INT8"])
    creation = {"STRONGLY_TYPED": 1} if typed else {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
    module.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", creation)
    if rtx:
        module.ComputeCapability = enum.Enum("ComputeCapability", ["NONE", "CURRENT", "SM75", "SM86", "SM120"])
    elif not typed:
        module.IInt8MinMaxCalibrator = Calibrator
    module.said = said
    return module


class Nvidia:
    """A machine with one card.

    Attributes:
        device: the card.
        trt: the TensorRT that is installed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str, driver: str = "cuda-python") -> None:
        self.device = Device()
        self.trt: Any = tensorrt(self.device, version)
        for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
            monkeypatch.setitem(sys.modules, name, self.trt if name == self.trt.__name__ else None)
        for name in ("cuda", "cuda.bindings", "cuda.cudart", "pycuda", "pycuda.driver"):
            monkeypatch.setitem(sys.modules, name, None)
        if driver == "cuda-python":
            monkeypatch.setitem(sys.modules, "cuda.bindings", ModuleType("cuda.bindings"))
            monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
            monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_runtime(self.device))
        else:
            monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
            monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
            monkeypatch.setitem(sys.modules, "pycuda.driver", pycuda_driver(self.device))


def machine(monkeypatch: pytest.MonkeyPatch, cache: Any, version: str, driver: str = "cuda-python") -> Iterator[Nvidia]:
    """A fake machine, and a cache folder of its own, for as long as a test lasts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    open_cuda.cache_clear()
    yield Nvidia(monkeypatch, version, driver)
    open_cuda.cache_clear()
