"""ONNX Runtime on an NVIDIA GPU: by its provider for CUDA, or by the one that hands the graph to TensorRT.

Each is a backend of its own, with targets of its own, and runs the whole of a graph or none of it: neither the CPU nor
the other provider takes what one has no kernel for.
"""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from backends import environment, nvml, program_files
from backends.compiling import compile_errors
from backends.cpu_clock import PerfCounterClock
from backends.errors import RuntimeMissingError
from backends.ort.libraries import loaded_version
from backends.ort.session import LEVELS, OrtRunner, Provider, open_session
from backends.ort.starting import start
from backends.protocol import Availability, Backend, Program, Runner, Setting, Target, Workload
from backends.runtimes import TORCH, Runtime, onnx, together

# The two packages are one module: what is installed last overwrites the other, so the first has to go.
INSTALL = "pip uninstall --yes onnxruntime; pip install onnxruntime-gpu onnx onnxscript nvidia-ml-py"
ORT_GPU = Runtime(module="onnxruntime", has="InferenceSession", oldest=(1, 21), before=2, install=INSTALL)
ONNX = onnx("pip install onnx onnxscript")
_TF32_SINCE = (8, 0)


class OrtGpuBackend(Backend):
    """What the two have in common."""

    provider: ClassVar[str]
    starts_with: ClassVar[str]
    """What has to be there for ONNX Runtime to start the provider."""

    @classmethod
    def availability(cls) -> Availability:
        """Whether this build of ``onnxruntime`` has the provider, and whether there is a GPU for it."""
        here = together(ORT_GPU, ONNX, TORCH)
        if not here.available:
            return here
        import onnxruntime

        reason, install = None, None
        if cls.provider not in onnxruntime.get_available_providers():
            reason, install = f"onnxruntime {here.runtime_version} is built without {cls.provider}", INSTALL
        else:
            try:
                nvml.first_gpu()
            except RuntimeMissingError as error:
                reason, install = error.message, error.hint
        return Availability(
            available=reason is None,
            runtime=here.runtime,
            runtime_version=here.runtime_version,
            reason=reason,
            install=install,
        )

    @cached_property
    def clock(self) -> PerfCounterClock:
        """Wall time on the host around runs that each wait for the GPU.

        In it, besides the kernels: the call from Python, the launch of every kernel, and the wait. Not in it: copies,
        as inputs and outputs stay in the GPU's memory. A small operator's time is therefore mostly its launch, as for
        whoever calls ONNX Runtime and waits for the answer; backends that time by CUDA events show less.
        """
        return PerfCounterClock()

    @property
    def on_nvidia_gpu(self) -> bool:
        """Both providers are NVIDIA's."""
        return True

    def target(self, device: str | None = None) -> Target:
        """This machine's GPU under this runtime and these settings."""
        import onnxruntime

        gpu = self._gpu
        start(self.provider, self.starts_with)  # What it loads is part of the target.
        env = environment.describe() | gpu.environment
        return Target(
            device=device or environment.gpu_slug(gpu.name),
            device_name=gpu.name,
            backend=self.name,
            runtime="onnxruntime",
            runtime_version=onnxruntime.__version__ + self._library(),
            precision="tf32" if self._rounds else "fp32",
            settings=dict(self.settings),
            fingerprint=environment.fingerprint(env),
            environment=env,
        )

    def compile(self, workload: Workload) -> Program:
        """Export the workload to an ONNX file and see that the provider takes the whole of it."""
        from backends.onnx_export import export_onnx

        start(self.provider, self.starts_with)  # One that does not start is no fault of the workload.
        with compile_errors(workload.name):
            model = export_onnx(workload.build(), workload.inputs())
        path, kept = program_files.new_path(".onnx"), program_files.new_folder()
        program = _OrtGpuProgram(workload, path, kept, self._provider(kept), self._level)
        try:
            program_files.write(path, model)
            program.load().close()
        except BaseException:
            program.close()
            raise
        return program

    @cached_property
    def _gpu(self) -> nvml.NvmlGpu:
        return nvml.first_gpu()

    @property
    def _rounds(self) -> bool:
        """Whether operands are rounded to TF32: by GPUs that can, unless it is forbidden."""
        forbidden = os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"
        return self._may_round and not forbidden and self._gpu.capability >= _TF32_SINCE

    @property
    @abstractmethod
    def _may_round(self) -> bool:
        """Whether the settings allow it."""

    @property
    @abstractmethod
    def _level(self) -> str:
        """How far ONNX Runtime itself may rewrite the graph."""

    @abstractmethod
    def _provider(self, kept: Path) -> Provider:
        """The provider with its options, given a folder of the program's own."""

    @abstractmethod
    def _library(self) -> str:
        """The version of the library that does the work, as it stands behind ONNX Runtime's."""


class OrtCudaBackend(OrtGpuBackend):
    """ONNX Runtime's own kernels for CUDA, and cuDNN's."""

    name = "ort-cuda"
    provider = "CUDAExecutionProvider"
    starts_with = "install the CUDA and cuDNN that it asks for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    settings_schema: ClassVar[dict[str, Setting]] = {
        "graph_optimization": Setting(
            default="all", choices=tuple(LEVELS), help="how far the runtime may rewrite the graph"
        ),
        "tf32": Setting(default=False, help="let convolutions and matrix products round their operands to TF32"),
    }

    @property
    def _may_round(self) -> bool:
        return bool(self.settings["tf32"])

    @property
    def _level(self) -> str:
        return str(self.settings["graph_optimization"])

    def _provider(self, kept: Path) -> Provider:
        options = {"device_id": "0", "use_tf32": "1" if self._may_round else "0"}
        return Provider(name=self.provider, device="cuda", options=options)

    def _library(self) -> str:
        version = loaded_version("libcudnn", "cudnnGetVersion")
        return "" if version is None else f"+cudnn{version}"


class OrtTensorRtBackend(OrtGpuBackend):
    """TensorRT through ONNX Runtime. The engine is built once, and read anew by each loading.

    The provider has no switch for TF32: it rounds where the GPU can, unless NVIDIA_TF32_OVERRIDE=0 is in the
    environment when the program starts. The target's precision says which.
    """

    name = "ort-tensorrt"
    provider = "TensorrtExecutionProvider"
    starts_with = "install the TensorRT and CUDA that this version of onnxruntime-gpu was built with"

    @property
    def _may_round(self) -> bool:
        return True

    @property
    def _level(self) -> str:
        return "all"

    def _provider(self, kept: Path) -> Provider:
        options = {"device_id": "0", "trt_engine_cache_enable": "True", "trt_engine_cache_path": str(kept)}
        return Provider(name=self.provider, device="cuda", options=options)

    def _library(self) -> str:
        version = loaded_version("libnvinfer", "getInferLibVersion")
        return "" if version is None else f"+tensorrt{version}"


class _OrtGpuProgram(Program):
    """An ONNX file, and a folder for what the provider makes of it, in the private folder of this process."""

    def __init__(self, workload: Workload, path: Path, kept: Path, provider: Provider, level: str) -> None:
        self._workload = workload
        self._path, self._kept = path, kept
        self._provider, self._level = provider, level

    def load(self) -> Runner:
        """A session of its own."""
        with compile_errors(self._workload.name):
            session = open_session(self._path, self._provider, level=self._level)
            return _OrtGpuRunner(session, self._workload.inputs(), self._provider.device)

    def close(self) -> None:
        """Remove the files."""
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self._kept, ignore_errors=True)


class _OrtGpuRunner(OrtRunner):
    """Inputs and outputs lie in the GPU's memory."""

    def run(self) -> None:
        """Run once and wait for the GPU."""
        super().run()
        self._binding.synchronize_outputs()
