"""PyTorch itself: eager and compiled on the CPU and on CUDA, and as a CUDA graph that is replayed.

Batch norms stay as they are in the module: eager PyTorch is measured as people run it. Three of PyTorch's switches
belong to the whole process, not to a model: the number of threads, TF32 in convolutions and TF32 in matrix products.
A runner sets them when it is loaded and again at a run that finds them changed, and nobody sets them back, so runners
of different settings can live side by side in one process, but other code there sees the last runner's switches.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from backends import environment
from backends.compiling import compile_errors
from backends.cpu_clock import PerfCounterClock
from backends.errors import InvalidSettingError, RuntimeMissingError
from backends.protocol import (
    Array,
    Availability,
    Backend,
    Clock,
    Program,
    Runner,
    Setting,
    SettingValue,
    Target,
    Workload,
)
from backends.runtimes import TORCH

if TYPE_CHECKING:
    import torch
    from torch import nn

_WARM_UP_RUNS = 3  # CUDA asks for a few before a capture: libraries choose kernels and allocate in the first.


class TorchBackend(Backend):
    """Runs the module under ``torch.inference_mode``."""

    name = "torch"
    settings_schema: ClassVar[dict[str, Setting]] = {
        "threads": Setting(default=1, minimum=1, help="threads within an operator, on the CPU"),
        "mode": Setting(
            default="eager",
            choices=("eager", "compile", "cudagraph"),
            help="as it is, through torch.compile, or captured once as a CUDA graph and replayed",
        ),
        "device_type": Setting(
            default="cpu", choices=("cpu", "cuda", "auto"), help="where to run; auto is cuda where there is one"
        ),
        "channels_last": Setting(default=False, help="NHWC memory layout"),
        "tf32": Setting(default=False, help="let CUDA round convolutions' operands to TF32"),
    }

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        if self.settings["device_type"] != "cpu":
            self.settings["device_type"] = _resolve_device_type(str(self.settings["device_type"]))
        if self.settings["device_type"] == "cpu":
            for name, value in (("mode", "cudagraph"), ("tf32", True)):
                if self.settings[name] == value:
                    raise InvalidSettingError(f"setting {name}={value!r} needs device_type='cuda'")

    @classmethod
    def availability(cls) -> Availability:
        """Whether ``torch`` can be imported; whether there is CUDA is asked when a backend is created for it."""
        return TORCH.availability()

    @cached_property
    def clock(self) -> Clock:
        """CUDA events on CUDA, wall time on the CPU."""
        return CudaEventClock() if self._on_cuda else PerfCounterClock()

    def target(self, device: str | None = None) -> Target:
        """This machine's CPU or GPU under this version of PyTorch and these settings."""
        import torch

        env = environment.describe()
        name = str(env["cpu_model"])
        slug = environment.device_slug(name, int(env["cpu_count"]))
        if self._on_cuda:
            env |= _describe_gpu()
            name = str(env["gpu"])
            slug = environment.gpu_slug(name)
        return Target(
            device=device or slug,
            device_name=name,
            backend=self.name,
            runtime="torch",
            runtime_version=torch.__version__,
            precision="tf32" if self.settings["tf32"] else "fp32",
            settings=dict(self.settings),
            fingerprint=environment.fingerprint(env),
            environment=env,
        )

    def compile(self, workload: Workload) -> Program:
        """Build the module and see that it runs; torch.compile does its work here."""
        with compile_errors(workload.name):
            program = _TorchProgram(workload, self.settings)
            program.load().close()
        return program

    @property
    def on_nvidia_gpu(self) -> bool:
        """With the setting ``device_type`` that says so, and a PyTorch that is built for CUDA and not for ROCm."""
        return self._on_cuda and _is_built_for_nvidia()

    @property
    def _on_cuda(self) -> bool:
        return self.settings["device_type"] == "cuda"


class CudaEventClock:
    """Time on the device between two events in its stream."""

    name = "cuda_events"

    def __init__(self) -> None:
        import torch

        self._begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Put the first event into the stream."""
        self._begin.record()

    def stop(self) -> float:
        """Put the second in, wait for it, and return the milliseconds between the two."""
        self._end.record()
        self._end.synchronize()
        elapsed: float = self._begin.elapsed_time(self._end)
        return elapsed


class _TorchProgram(Program):
    """A module; with torch.compile, the compiled function that runs any copy of it."""

    def __init__(self, workload: Workload, settings: dict[str, SettingValue]) -> None:
        self._workload = workload
        self._settings = settings
        self._module = workload.build()
        self._call = _compiled_caller() if settings["mode"] == "compile" else _call

    def load(self) -> Runner:
        """A copy of the module and inputs of its own, run once."""
        with compile_errors(self._workload.name):
            return _TorchRunner(self._module, self._call, self._workload.inputs(), self._settings)

    def close(self) -> None:
        """Nothing: the module goes with the program."""


class _TorchRunner(Runner):
    """A module on its device with its inputs."""

    def __init__(
        self,
        module: nn.Module,
        call: Callable[..., Any],
        inputs: tuple[Array, ...],
        settings: dict[str, SettingValue],
    ) -> None:
        import torch

        device = str(settings["device_type"])
        layout = torch.channels_last if settings["channels_last"] else torch.contiguous_format
        self._threads = int(settings["threads"])
        self._tf32 = bool(settings["tf32"])
        self._cuda = device == "cuda"
        self._module: nn.Module | None = copy.deepcopy(module).to(device)
        self._inputs = tuple(torch.from_numpy(array).to(device) for array in inputs)
        if settings["channels_last"]:
            self._module = self._module.to(memory_format=layout)  # type: ignore[call-overload]
            self._inputs = tuple(tensor.contiguous(memory_format=layout) for tensor in self._inputs)
        self._call = call
        self._result: Any = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self.run()
        if settings["mode"] == "cudagraph":
            self._capture()

    def run(self) -> None:
        """Run once. On CUDA it only enqueues."""
        import torch

        if self._module is None:
            raise RuntimeError("this runner is closed")
        if self._graph is not None:
            self._graph.replay()
            return
        self._set_switches()
        with torch.inference_mode():
            self._result = self._call(self._module, *self._inputs)

    def outputs(self) -> tuple[Array, ...]:
        """Copies of what the last run returned."""
        results = self._result if isinstance(self._result, (tuple, list)) else (self._result,)
        return tuple(result.cpu().contiguous().numpy().copy() for result in results)

    def close(self) -> None:
        """Let go of the module, the tensors and the graph."""
        self._graph = None
        self._result = None
        self._inputs = ()
        self._module = None

    def _capture(self) -> None:
        """Record one run as a graph, after a few on a side stream, as CUDA wants it."""
        import torch

        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.run()
        self._graph = graph
        graph.replay()  # A capture computes nothing: without this the outputs would be empty.
        torch.cuda.synchronize()

    def _set_switches(self) -> None:
        """Make the process's switches this runner's. Reading one is cheap, setting the threads is not."""
        import torch

        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        if self._cuda and torch.backends.cudnn.allow_tf32 != self._tf32:
            torch.backends.cudnn.allow_tf32 = self._tf32
            torch.backends.cuda.matmul.allow_tf32 = self._tf32


def _call(module: nn.Module, *inputs: torch.Tensor) -> Any:
    return module(*inputs)


def _compiled_caller() -> Callable[..., Any]:
    """``_call`` compiled for one workload.

    The module is an argument so that every copy of it shares what was compiled. The code object is a fresh one because
    torch.compile keeps what it compiled by code object, eight at most, and then silently runs eagerly; ``fullgraph``
    makes that, and a part that it cannot compile, an error.
    """
    import torch

    code = _call.__code__.replace()
    fresh = types.FunctionType(code, _call.__globals__, "call")
    compiled: Callable[..., Any] = torch.compile(fresh, fullgraph=True, dynamic=False)
    return compiled


def _resolve_device_type(wanted: str) -> str:
    """``cuda`` or ``cpu`` for ``auto``; ``cuda`` only where there is one."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "auto":
        return "cpu"
    built = "this PyTorch sees no CUDA device" if torch.version.cuda else "this PyTorch is built without CUDA"
    raise RuntimeMissingError(
        f"backend 'torch' cannot run with device_type='cuda': {built}",
        hint="install an NVIDIA driver and a CUDA build of torch: https://pytorch.org/get-started",
    )


def _is_built_for_nvidia() -> bool:
    """ROCm's PyTorch calls AMD's GPUs cuda, too."""
    import torch

    return torch.version.cuda is not None


def _describe_gpu() -> dict[str, SettingValue]:
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "gpu_capability": f"{properties.major}.{properties.minor}",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }
