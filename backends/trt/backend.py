"""TensorRT on an NVIDIA GPU, and engines for GPUs that are not here."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from functools import cached_property
from typing import ClassVar

from backends import environment
from backends.building import Buildable, Built
from backends.compiling import compile_errors
from backends.cuda import Cuda, CudaEventClock, Gpu, open_cuda
from backends.errors import BackendError, InvalidSettingError, RuntimeMissingError
from backends.protocol import Array, Availability, Backend, Clock, Program, Setting, Target, Workload
from backends.runtimes import TORCH, onnx, together
from backends.trt import files, flavours
from backends.trt.calibration import make_calibrator
from backends.trt.engines import PRECISIONS, build_engine, check_precision
from backends.trt.flavours import FLAVOURS, Api
from backends.trt.programs import TrtProgram

BUILT_FOR = ("8.6", "12.0")
"""Compute capabilities that engines are built for ahead of time where none is named: Ampere's and Blackwell's cards."""


class TrtBackend(Backend, Buildable):
    """Builds an engine for each workload, keeps it, and runs it with everything on the device."""

    name = "trt"
    settings_schema: ClassVar[dict[str, Setting]] = {
        "flavour": Setting(
            default=flavours.DEFAULT,
            choices=tuple(FLAVOURS),
            help="TensorRT-RTX (cards since Turing, builds without a GPU) or TensorRT (8.6 for Pascal, to 11)",
        ),
        "precision": Setting(default="fp32", choices=PRECISIONS, help="what is computed in; fp32 is without TF32"),
        "cuda_graph": Setting(default=False, help="capture a run as a CUDA graph once, and replay it"),
        "compute_capabilities": Setting(
            default="", help=f"what --build-only builds for, as in 8.6,12.0; without, {','.join(BUILT_FOR)}"
        ),
    }

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        named = [part.strip() for part in str(self.settings["compute_capabilities"]).split(",") if part.strip()]
        for capability in named:
            if re.fullmatch(r"\d+\.\d", capability) is None:
                raise InvalidSettingError(
                    f"setting compute_capabilities: {capability!r} is not a compute capability such as 8.6"
                )
        ordered = sorted(set(named), key=lambda capability: tuple(map(int, capability.split("."))))
        self.settings["compute_capabilities"] = ",".join(ordered)

    # What is here

    @classmethod
    def availability(cls) -> Availability:
        """Whether one of the two runtimes, the ONNX library and a CUDA device are here."""
        found = cls._runtime_here()
        if not found.available:
            return found
        try:
            open_cuda().gpu()
        except BackendError as error:
            builds = FLAVOURS[found.runtime].builds_ahead
            ahead = "; engines can be built: latency-db profile --build-only" if builds else ""
            return Availability(
                available=False,
                runtime=found.runtime,
                runtime_version=found.runtime_version,
                reason=f"{error.message}{ahead}",
                install=error.hint,
            )
        return found

    @classmethod
    def build_availability(cls) -> Availability:
        """Whether TensorRT-RTX and the ONNX library are here: TensorRT builds on the GPU alone."""
        return _look_for(flavours.DEFAULT)

    @classmethod
    def _runtime_here(cls) -> Availability:
        """The default flavour where it is here, else the other, else what the default lacks."""
        found = [_look_for(name) for name in FLAVOURS]
        return next((one for one in found if one.available), found[0])

    @cached_property
    def _api(self) -> Api:
        try:
            api = flavours.load(str(self.settings["flavour"]))
        except RuntimeMissingError as error:
            here = self._runtime_here()
            if not here.available:
                raise
            hint = f"{error.hint}, or take what is here: --setting flavour={here.runtime}"
            raise RuntimeMissingError(error.message, hint=hint) from error
        check_precision(api, self._precision)
        return api

    @cached_property
    def _cuda(self) -> Cuda:
        if self.settings["compute_capabilities"]:
            raise InvalidSettingError(
                "setting compute_capabilities goes with --build-only: what is measured is built for the GPU here"
            )
        return open_cuda()

    @cached_property
    def _gpu(self) -> Gpu:
        return self._cuda.gpu()

    @cached_property
    def _stream(self) -> int:
        return self._cuda.create_stream()

    @property
    def _precision(self) -> str:
        return str(self.settings["precision"])

    # Measuring

    @cached_property
    def clock(self) -> Clock:
        """CUDA events."""
        return CudaEventClock(self._cuda, self._stream)

    @property
    def on_nvidia_gpu(self) -> bool:
        """TensorRT runs on nothing else."""
        return True

    def target(self, device: str | None = None) -> Target:
        """This machine's GPU under this runtime and these settings."""
        api, gpu = self._api, self._gpu
        env = environment.describe() | {
            "gpu": gpu.name,
            "gpu_memory_gib": round(gpu.memory_bytes / 2**30, 1),
            "gpu_capability": "{}.{}".format(*gpu.capability),
            "cuda_driver": gpu.driver_version,
            "cuda_api": self._cuda.name,
        }
        return Target(
            device=device or environment.gpu_slug(gpu.name),
            device_name=gpu.name,
            backend=self.name,
            runtime=api.flavour.name,
            runtime_version=api.version,
            precision=self._precision,
            settings=dict(self.settings),
            fingerprint=environment.fingerprint(env),
            environment=env,
        )

    def compile(self, workload: Workload) -> Program:
        """Build the engine for the GPU that is here, or take the one that is kept."""
        gpu = self._gpu
        device = [gpu.name, *gpu.capability, gpu.driver_version]
        engine, _ = self._engine(workload, device=device, capabilities=None)
        kernels = files.key({"kernels": self._api.version, "device": device}, engine) + ".kernels"
        return TrtProgram(
            self._api,
            self._cuda,
            self._stream,
            workload,
            engine,
            kernels=kernels,
            cuda_graph=bool(self.settings["cuda_graph"]),
        )

    # Building ahead

    def build_target(self) -> Target:
        """The compute capabilities, by their own names: no machine, and nothing that was ever measured."""
        capabilities = self._build_capabilities()
        identity = hashlib.sha256(f"build only\x1f{','.join(capabilities)}".encode()).hexdigest()[:16]
        return Target(
            device="-".join(f"sm{capability.replace('.', '')}" for capability in capabilities),
            device_name=f"compute capability {', '.join(capabilities)}: engines built, nothing measured",
            backend=self.name,
            runtime=self._api.flavour.name,
            runtime_version=self._api.version,
            precision=self._precision,
            settings={**self.settings, "compute_capabilities": ",".join(capabilities)},
            fingerprint=identity,
            environment={"build_only": True},
        )

    def build(self, workload: Workload) -> Built:
        """Build the engine for these compute capabilities, or find it kept."""
        capabilities = self._build_capabilities()
        engine, kept = self._engine(workload, device=list(capabilities), capabilities=capabilities)
        return Built(size_bytes=len(engine), kept=kept)

    def _build_capabilities(self) -> tuple[str, ...]:
        if not FLAVOURS[str(self.settings["flavour"])].builds_ahead:
            raise InvalidSettingError(
                f"{self.settings['flavour']} builds an engine only on the GPU that runs it",
                hint=f"build with --setting flavour={flavours.DEFAULT}",
            )
        named = str(self.settings["compute_capabilities"])
        capabilities = tuple(named.split(",")) if named else BUILT_FOR
        self._api.members_of(capabilities)
        return capabilities

    # Both

    def _engine(
        self, workload: Workload, *, device: list[object] | list[str], capabilities: tuple[str, ...] | None
    ) -> tuple[bytes, bool]:
        """The engine, and whether it was kept from an earlier call."""
        from backends.onnx_export import export_onnx

        api, inputs = self._api, workload.inputs()
        with compile_errors(workload.name):
            graph = export_onnx(workload.build(), inputs)
        made_by = {
            "runtime": api.flavour.name,
            "version": api.version,
            "device": device,
            # All that changes an engine: a CUDA graph is captured from whatever engine there is.
            "precision": self._precision,
            "capabilities": capabilities,
        }
        name = files.key(made_by, graph) + ".engine"
        kept = files.read(name)
        if kept is not None:
            return kept, True
        # Building ahead times nothing: there is no device to time on.
        timings = None if api.flavour.builds_ahead else files.key({**made_by, "timings": True}) + ".timings"
        before = None if timings is None else files.read(timings) or b""
        engine, after = self._build(workload, graph, inputs, capabilities, before)
        files.write(name, engine)
        if timings is not None and after is not None and after != before:
            files.write(timings, after)
        return engine, False

    def _build(
        self,
        workload: Workload,
        graph: bytes,
        inputs: tuple[Array, ...],
        capabilities: tuple[str, ...] | None,
        timing_cache: bytes | None,
    ) -> tuple[bytes, bytes | None]:
        calibrator = None
        if self._precision == "int8" and capabilities is None:
            named = {f"input_{index}": array for index, array in enumerate(inputs)}
            calibrator = make_calibrator(self._api.module, self._cuda, named)
        try:
            return build_engine(
                self._api,
                graph,
                workload=workload.name,
                precision=self._precision,
                capabilities=capabilities,
                timing_cache=timing_cache,
                calibrator=None if calibrator is None else lambda: calibrator,
            )
        finally:
            if calibrator is not None:
                calibrator.free_inputs()


def _look_for(name: str) -> Availability:
    """Whether one flavour can be imported, and what exports graphs for it."""
    try:
        api = flavours.load(name)
    except RuntimeMissingError as error:
        return Availability(available=False, runtime=name, reason=error.message, install=error.hint)
    exporter = together(onnx(api.flavour.install), TORCH)
    return dataclasses.replace(exporter, runtime=name, runtime_version=api.version)
