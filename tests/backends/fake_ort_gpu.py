"""A GPU build of ONNX Runtime that is none: the CPU's sessions, asked for as a GPU's would be.

It holds what the code under test says to ONNX Runtime and to NVML, not what a GPU makes of it. Sessions, bindings and
values are real ones on the CPU; a value on ``cuda`` is a copy, as it would be there.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

CARD = "NVIDIA GeForce RTX 3090"
_Session = onnxruntime.InferenceSession
_Value = onnxruntime.OrtValue


def pynvml_with(*names: str, **fail: str) -> ModuleType:
    """``pynvml`` on a machine with GPUs of these names; functions that end in an error, by name."""
    module: Any = ModuleType("pynvml")
    module.open = 0

    class NVMLError(Exception):
        pass

    def function(work: Any) -> None:
        def call(*arguments: Any) -> Any:
            if work.__name__ in fail:
                raise NVMLError(f"{fail[work.__name__]}\nat length")
            return work(*arguments)

        setattr(module, work.__name__, call)

    @function
    def nvmlInit() -> None:
        module.open += 1

    @function
    def nvmlShutdown() -> None:
        module.open -= 1

    @function
    def nvmlSystemGetDriverVersion() -> bytes:
        return b"580.65.06"

    @function
    def nvmlDeviceGetCount() -> int:
        return len(names)

    @function
    def nvmlDeviceGetHandleByIndex(index: int) -> int:
        return index

    @function
    def nvmlDeviceGetHandleByUUID(uuid: str) -> int:
        return int(uuid.removeprefix("MIG-"))

    @function
    def nvmlDeviceGetName(handle: int) -> str:
        return names[handle]

    @function
    def nvmlDeviceGetUUID(handle: int) -> str:
        return f"GPU-{handle}{'abc'[handle] * 3}"

    @function
    def nvmlDeviceGetCudaComputeCapability(handle: int) -> tuple[int, int]:
        return (8, 6)

    @function
    def nvmlDeviceGetMemoryInfo(handle: int) -> Any:
        return SimpleNamespace(total=24 * 2**30)

    module.NVMLError = NVMLError
    return module


class OrtGpu:
    """ONNX Runtime with providers for a GPU.

    Attributes:
        starts: providers whose libraries are here; a session that asks for another one gets the CPU's, as from the
            real thing.
        refused: operators that no provider for a GPU takes.
        sessions: of each session made, (name of the provider, its options, session options).
        values: where each value was put.
        synchronized: how often a run was waited for.
        raises: what making a session ends in.
        said: what looking for CUDA's libraries prints.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built_with = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        self.starts = {"TensorrtExecutionProvider", "CUDAExecutionProvider"}
        self.refused: set[str] = set()
        self.sessions: list[tuple[str, dict[str, str], Any]] = []
        self.values: list[str] = []
        self.synchronized = 0
        self.raises: Exception | None = None
        self.said = ""
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(self.built_with))
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(self.said, end=""))
        monkeypatch.setattr(onnxruntime, "InferenceSession", self._session)
        monkeypatch.setattr(onnxruntime, "OrtValue", self)

    def _session(self, model: str | bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
        ((name, chosen),) = [(one, {}) if isinstance(one, str) else one for one in providers]
        assert enable_fallback == 0, "its fallback would go on with the CPU"
        self.sessions.append((name, chosen, options))
        if self.raises is not None:
            raise self.raises
        inner = onnxruntime.SessionOptions()
        inner.log_severity_level = options.log_severity_level
        inner.graph_optimization_level = options.graph_optimization_level
        session = _Session(model, inner, providers=["CPUExecutionProvider"])
        alone = _entry(options, "session.disable_cpu_ep_fallback") == "1"
        if alone and (name not in self.starts or self.refused & _operators(model)):
            raise RuntimeError("nodes are assigned to the CPU, but fallback to it was disabled")
        if "trt_engine_cache_path" in chosen and name in self.starts:
            folder = Path(chosen["trt_engine_cache_path"])
            assert chosen["trt_engine_cache_enable"] == "True" and folder.is_dir()
            folder.joinpath("some.engine").write_bytes(b"an engine")
        started = [name] if name in self.starts else []
        return _FakeSession(self, session, [*started, "CPUExecutionProvider"])

    def ortvalue_from_numpy(self, array: Any, device: str) -> Any:
        """A value on the device: never the caller's own memory."""
        self.values.append(device)
        return _Value.ortvalue_from_numpy(np.array(array))

    def ortvalue_from_shape_and_type(self, shape: Any, dtype: Any, device: str) -> Any:
        """Likewise."""
        self.values.append(device)
        return _Value.ortvalue_from_shape_and_type(shape, dtype)


class _FakeSession:
    def __init__(self, ort: OrtGpu, session: Any, providers: list[str]) -> None:
        self._ort, self._session, self._providers = ort, session, providers

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def io_binding(self) -> _FakeBinding:
        return _FakeBinding(self._ort, self._session.io_binding())

    def run_with_iobinding(self, binding: _FakeBinding) -> None:
        binding.waited_for = False
        self._session.run_with_iobinding(binding.inner)


class _FakeBinding:
    def __init__(self, ort: OrtGpu, inner: Any) -> None:
        self._ort, self.inner = ort, inner
        self.waited_for = True

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.inner.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name: str, value: Any) -> None:
        self.inner.bind_ortvalue_output(name, value)

    def synchronize_outputs(self) -> None:
        self._ort.synchronized += 1
        self.waited_for = True


def _entry(options: Any, key: str) -> str | None:
    """A session's configuration; none where it was not set, for which ONNX Runtime raises."""
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:
        return None


def _operators(model: str | bytes) -> set[str]:
    import onnx

    loaded = onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    return {node.op_type for node in loaded.graph.node}
