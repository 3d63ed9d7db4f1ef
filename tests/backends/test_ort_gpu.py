"""ONNX Runtime's providers for a GPU: on a fake of a GPU build; on the CPU build that is here, how they are refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import onnxruntime
import pytest

from backends import program_files, registry
from backends.errors import CompileError, RuntimeMissingError
from backends.ort import OrtCudaBackend, OrtTensorRtBackend
from backends.ort import gpu as gpu_module
from backends.ort.gpu import OrtGpuBackend
from backends.ort.libraries import loaded_version
from backends.ort.starting import start
from backends.protocol import Backend
from backends.testing import CONV_BN_RELU, IDENTITY, BackendContract
from tests.backends.fake_ort_gpu import CARD, OrtGpu, pynvml_with

BOTH = pytest.mark.parametrize("cls", [OrtCudaBackend, OrtTensorRtBackend])
RUNTIMES = ("torch", "onnx", "onnxruntime", "onnxscript", "pynvml")


def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[OrtGpu]:
    """A fake GPU build, and a card, for as long as a test lasts."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml_with(CARD))
    start.cache_clear()
    yield OrtGpu(monkeypatch)
    start.cache_clear()


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> Iterator[OrtGpu]:
    yield from machine(monkeypatch)


class OnFakes(BackendContract):
    runtime_modules = RUNTIMES

    @pytest.fixture(autouse=True)
    def ort(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[OrtGpu]:
        yield from machine(monkeypatch)


class TestCuda(OnFakes):
    backend_class: ClassVar[type[Backend]] = OrtCudaBackend


class TestTensorRt(OnFakes):
    backend_class: ClassVar[type[Backend]] = OrtTensorRtBackend


def _built_with(provider: str) -> bool:
    return provider in onnxruntime.get_available_providers()


@pytest.mark.gpu
@pytest.mark.skipif(not _built_with("CUDAExecutionProvider"), reason="onnxruntime is built without CUDA")
class TestCudaOnTheGpu(BackendContract):
    backend_class: ClassVar[type[Backend]] = OrtCudaBackend
    runtime_modules = RUNTIMES


@pytest.mark.gpu
@pytest.mark.skipif(not _built_with("TensorrtExecutionProvider"), reason="onnxruntime is built without TensorRT")
class TestTensorRtOnTheGpu(BackendContract):
    backend_class: ClassVar[type[Backend]] = OrtTensorRtBackend
    runtime_modules = RUNTIMES
    rtol, atol = 1e-2, 1e-2  # It may round to TF32.


# What is said to ONNX Runtime


@BOTH
def test_the_wanted_provider_alone_runs_and_the_cpu_takes_nothing(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    runner = cls().compile(CONV_BN_RELU).load()
    for name, _, options in ort.sessions[1:]:  # The first is the start.
        assert name == cls.provider
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        assert options.intra_op_num_threads == options.inter_op_num_threads == 1
    assert runner._session is not None and runner._session.get_providers()[0] == cls.provider


@BOTH
def test_inputs_and_outputs_lie_in_the_gpus_memory(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    program = cls().compile(CONV_BN_RELU)
    ort.values.clear()
    program.load()
    assert ort.values == ["cuda", "cuda"]


@BOTH
def test_every_run_is_waited_for(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    runner = cls().compile(IDENTITY).load()
    before = ort.synchronized
    runner.run()
    runner.run()
    assert ort.synchronized == before + 2
    assert runner._binding.waited_for


def test_cuda_rounds_to_tf32_only_when_asked(ort: OrtGpu) -> None:
    for tf32, option, precision in ((False, "0", "fp32"), (True, "1", "tf32")):
        backend = OrtCudaBackend(tf32=tf32)
        backend.compile(IDENTITY)
        assert ort.sessions[-1][1]["use_tf32"] == option
        assert backend.target().precision == precision


def test_cuda_rewrites_as_far_as_asked(ort: OrtGpu) -> None:
    OrtCudaBackend(graph_optimization="basic").compile(IDENTITY)
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert ort.sessions[-1][2].graph_optimization_level == level


def test_tensorrts_precision_is_what_it_computes_in(ort: OrtGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OrtTensorRtBackend().target().precision == "tf32"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert OrtTensorRtBackend().target().precision == "fp32"
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    backend = OrtTensorRtBackend()
    monkeypatch.setattr(gpu_module, "_TF32_SINCE", (9, 0))
    assert backend.target().precision == "fp32", "older cards cannot"


def test_tensorrts_engines_are_kept_for_the_next_loading_and_go_with_the_program(ort: OrtGpu) -> None:
    program = OrtTensorRtBackend().compile(IDENTITY)
    kept = Path(ort.sessions[-1][1]["trt_engine_cache_path"])
    assert kept.parent == program_files.folder() and list(kept.iterdir())
    program.load()
    assert ort.sessions[-1][1]["trt_engine_cache_path"] == str(kept)
    program.close()
    assert not kept.exists()


@BOTH
def test_a_failed_program_leaves_no_file(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    before = set(program_files.folder().iterdir())
    ort.refused = {"Conv"}
    with pytest.raises(CompileError, match=r"conv-bn-relu: .*fallback"):
        cls().compile(CONV_BN_RELU)
    assert set(program_files.folder().iterdir()) == before


# Targets


@BOTH
def test_the_target_is_the_gpu(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    target = cls().target()
    assert (target.device, target.device_name, target.backend) == ("3090", CARD, cls.name)
    assert target.environment["gpu"] == CARD and target.environment["driver"] == "580.65.06"
    assert target.runtime == "onnxruntime" and target.runtime_version.startswith(onnxruntime.__version__)


@pytest.mark.parametrize(("cls", "version"), [(OrtCudaBackend, "+cudnn90100"), (OrtTensorRtBackend, "+tensorrt101300")])
def test_the_library_that_does_the_work_is_part_of_the_version(
    ort: OrtGpu, monkeypatch: pytest.MonkeyPatch, cls: type[OrtGpuBackend], version: str
) -> None:
    versions = {("libcudnn", "cudnnGetVersion"): 90100, ("libnvinfer", "getInferLibVersion"): 101300}
    monkeypatch.setattr(gpu_module, "loaded_version", lambda *asked: versions[asked])
    assert cls().target().runtime_version == onnxruntime.__version__ + version


def test_a_loaded_library_is_asked_for_its_version() -> None:
    assert loaded_version("libc", "getpid") == os.getpid()
    assert loaded_version("libnosuchlibrary", "version") is None


# What is not here


@BOTH
def test_the_build_that_is_here_has_no_gpu(cls: type[OrtGpuBackend]) -> None:
    if _built_with(cls.provider):
        pytest.skip(f"onnxruntime is built with {cls.provider}")
    with pytest.raises(RuntimeMissingError, match=f"{cls.name}.*without {cls.provider}") as caught:
        registry.create(cls.name)
    line = str(caught.value)
    assert "\n" not in line and "pip install onnxruntime-gpu" in line
    assert registry.get("ort").availability().available, "the CPU's is not touched by it"


@BOTH
def test_a_build_with_the_other_provider_only(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    ort.built_with.remove(cls.provider)
    with pytest.raises(RuntimeMissingError, match=f"without {cls.provider}"):
        registry.create(cls.name)


@BOTH
def test_no_gpu_and_no_bindings(ort: OrtGpu, monkeypatch: pytest.MonkeyPatch, cls: type[OrtGpuBackend]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", pynvml_with())
    with pytest.raises(RuntimeMissingError, match="there is no GPU"):
        registry.create(cls.name)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(RuntimeMissingError, match="pip install nvidia-ml-py"):
        registry.create(cls.name)


@BOTH
def test_a_provider_whose_libraries_lack_is_an_error_and_never_the_cpu(
    ort: OrtGpu, cls: type[OrtGpuBackend], capsys: pytest.CaptureFixture[str]
) -> None:
    ort.starts.clear()
    ort.said = "Failed to load libcublasLt.so.12:\n cannot open\n"
    for act in (lambda: cls().compile(IDENTITY), lambda: cls().target()):
        with pytest.raises(RuntimeMissingError, match=rf"cannot start {cls.provider}: .*libcublasLt") as caught:
            act()
        assert "\n" not in str(caught.value) and caught.value.hint
    assert capsys.readouterr().out == ""


@BOTH
def test_a_provider_that_raises_at_its_start(ort: OrtGpu, cls: type[OrtGpuBackend]) -> None:
    ort.raises = RuntimeError("EP_FAIL: libnvinfer.so.10: cannot open shared object file\nmore")
    with pytest.raises(RuntimeMissingError, match=r"libnvinfer\.so\.10") as caught:
        cls().compile(IDENTITY)
    assert "\n" not in str(caught.value)


@BOTH
def test_a_session_on_another_provider_is_refused(
    ort: OrtGpu, monkeypatch: pytest.MonkeyPatch, cls: type[OrtGpuBackend]
) -> None:
    """Should ONNX Runtime ever take the CPU without saying so, its numbers are not taken for the GPU's."""
    program = cls().compile(IDENTITY)
    inner = ort._session

    def cpu(*arguments: object, **options: object) -> object:
        session = inner(*arguments, **options)  # type: ignore[arg-type]
        session._providers = ["CPUExecutionProvider"]
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", cpu)
    with pytest.raises(CompileError, match=rf"identity: .*asked for {cls.provider}, .*CPUExecutionProvider"):
        program.load()
