"""TensorRT's backend: on fakes of the APIs where it would need a GPU, on TensorRT-RTX itself where it builds."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from backends import registry
from backends.building import Built
from backends.errors import BackendError, CompileError, InvalidSettingError, RuntimeMissingError
from backends.onnx_export import export_onnx
from backends.protocol import Backend, check_outputs
from backends.testing import CONV_BN_RELU, UNRUNNABLE, WORKLOADS, BackendContract, expected_outputs
from backends.trt import TrtBackend, files, flavours
from backends.trt.engines import build_engine
from backends.trt.half import to_half
from tests.backends.fake_nvidia import Device, Nvidia, Status, machine, tensorrt
from tests.backends.graphs import oddity

RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed: pip install '.[trt-rtx]'"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return files.folder()


@pytest.fixture
def nvidia(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvidia]:
    """A fake card with a fake TensorRT, of version 8.6.1 unless the test says another."""
    yield from machine(monkeypatch, tmp_path, getattr(request, "param", "8.6.1"))


def with_version(*versions: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("nvidia", versions, indirect=True)


def classic(**settings: object) -> TrtBackend:
    return TrtBackend(flavour="tensorrt", **settings)


# The contract, on fakes: what is said to CUDA and to TensorRT adds up to a backend


class OnFakes(BackendContract):
    backend_class: ClassVar[type[Backend]] = TrtBackend
    runtime_modules = ("onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "pycuda", "torch")
    version: ClassVar[str]
    driver: ClassVar[str] = "cuda-python"

    @pytest.fixture(autouse=True)
    def nvidia(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvidia]:
        yield from machine(monkeypatch, tmp_path, self.version, self.driver)


class TestTensorRt86WithPycuda(OnFakes):
    settings: ClassVar[dict[str, object]] = {"flavour": "tensorrt"}
    version = "8.6.1"
    driver = "pycuda"


class TestTensorRt11AsGraph(OnFakes):
    settings: ClassVar[dict[str, object]] = {"flavour": "tensorrt", "cuda_graph": True}
    version = "11.2.0.4"


class TestTensorRtRtx(OnFakes):
    version = "1.7.1.116"


class TestTensorRtRtxHalf(OnFakes):
    settings: ClassVar[dict[str, object]] = {"precision": "fp16"}
    version = "1.7.1.116"
    rtol, atol = 2e-2, 2e-2


@RTX
@pytest.mark.gpu
class TestTensorRtRtxOnTheGpu(BackendContract):
    backend_class: ClassVar[type[Backend]] = TrtBackend
    runtime_modules = OnFakes.runtime_modules


@RTX
@pytest.mark.gpu
class TestTensorRtRtxAsGraphOnTheGpu(TestTensorRtRtxOnTheGpu):
    settings: ClassVar[dict[str, object]] = {"cuda_graph": True}


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is None, reason="tensorrt is not installed")
class TestTensorRtOnTheGpu(TestTensorRtRtxOnTheGpu):
    settings: ClassVar[dict[str, object]] = {"flavour": "tensorrt"}


# Settings and what is here


def test_the_default_flavour_is_the_one_that_builds_without_a_gpu() -> None:
    assert TrtBackend().settings["flavour"] == "tensorrt_rtx"


@pytest.mark.parametrize("value", ["8", "sm86", "8.6,x", "8.6;12.0"])
def test_what_is_no_compute_capability_is_refused(value: str) -> None:
    with pytest.raises(InvalidSettingError, match="compute_capabilities"):
        TrtBackend(compute_capabilities=value)


def test_the_order_of_compute_capabilities_does_not_matter() -> None:
    assert TrtBackend(compute_capabilities=" 12.0, 8.6,8.6").settings["compute_capabilities"] == "8.6,12.0"


@with_version("8.6.1", "11.0.1", "1.7.1.116")
def test_the_target_says_which_runtime_on_which_card(nvidia: Nvidia) -> None:
    name = nvidia.trt.__name__
    target = TrtBackend(flavour=name).target()
    assert (target.device, target.runtime, target.runtime_version) == ("1080ti", name, nvidia.trt.__version__)
    assert target.environment["gpu_capability"] == "6.1"


def test_a_flavour_that_is_not_here_is_never_replaced_by_the_other(nvidia: Nvidia) -> None:
    assert TrtBackend.availability().runtime == "tensorrt"
    with pytest.raises(RuntimeMissingError, match=r"tensorrt_rtx is not installed .*pip install.*flavour=tensorrt\)$"):
        TrtBackend().target()


@with_version("8.4.3", "12.0.0", "1.7.1.116")
def test_a_version_that_is_not_known_is_one_line(nvidia: Nvidia) -> None:
    version = nvidia.trt.__version__
    if nvidia.trt.__name__ == "tensorrt_rtx":
        nvidia.trt.__version__ = version = "2.0.0"
    with pytest.raises(RuntimeMissingError, match=f"{version} is not one of the versions"):
        flavours.load(nvidia.trt.__name__)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('libtensorrt_rtx.so.1: cannot open')", r"libtensorrt_rtx\.so\.1"),
        ("raise OSError('libtensorrt_rtx.so.1: file too short')", "file too short"),
        ("import a_part_that_is_missing", "a_part_that_is_missing"),
        ("", "only in part"),
        ("__version__ = '1.7.1'; Builder = None", "ONNX parser"),
    ],
)
def test_a_broken_installation_is_one_line(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    del sys.modules["tensorrt_rtx"]  # What is imported in its place is taken back with the patch.
    for found in (TrtBackend.availability(), TrtBackend.build_availability()):
        assert not found.available and found.runtime == "tensorrt_rtx"
        assert found.reason is not None and "\n" not in found.reason
        with pytest.raises(RuntimeMissingError, match=words):
            flavours.load("tensorrt_rtx")
        assert str(found.install).startswith("pip install --force-reinstall")


@with_version("1.7.1.116")
def test_without_a_driver_it_builds_but_does_not_measure(nvidia: Nvidia) -> None:
    nvidia.device.failing["cudaGetDeviceCount"] = Status.cudaErrorInsufficientDriver
    assert TrtBackend.build_availability().available
    found = TrtBackend.availability()
    assert not found.available and "cudaErrorInsufficientDriver" in str(found.reason)
    assert "--build-only" in str(found.reason)
    with pytest.raises(RuntimeMissingError, match="cannot run here: no CUDA device"):
        registry.create("trt")
    with pytest.raises(RuntimeMissingError, match="no CUDA device"):
        TrtBackend().compile(CONV_BN_RELU)
    assert isinstance(registry.create_builder("trt"), TrtBackend)


def test_measuring_takes_no_compute_capabilities(nvidia: Nvidia) -> None:
    with pytest.raises(InvalidSettingError, match="--build-only"):
        classic(compute_capabilities="8.6").target()


def test_tensorrt_does_not_build_ahead() -> None:
    with pytest.raises(InvalidSettingError, match="flavour=tensorrt_rtx"):
        classic().build_target()


# Precisions


@pytest.mark.parametrize(
    ("precision", "flags"),
    [("fp32", []), ("tf32", ["TF32"]), ("fp16", ["FP16"]), ("int8", ["INT8"])],
)
@with_version("8.6.1", "10.13.0")
def test_flags_of_weakly_typed_networks(nvidia: Nvidia, precision: str, flags: list[str]) -> None:
    classic(precision=precision).compile(CONV_BN_RELU)
    assert nvidia.trt.said["built"] == [(flags, [])]
    assert nvidia.trt.said["calibrated"] == ((1, [True]) if precision == "int8" else None)
    assert nvidia.device.memory == {}, "what calibration was shown is freed"


@pytest.mark.parametrize(("precision", "flags"), [("fp32", []), ("tf32", ["TF32"]), ("fp16", [])])
@with_version("11.0.1", "1.7.1.116")
def test_strongly_typed_networks_compute_in_the_types_of_the_graph(
    nvidia: Nvidia, precision: str, flags: list[str]
) -> None:
    name = nvidia.trt.__name__
    program = TrtBackend(flavour=name, precision=precision).compile(CONV_BN_RELU)
    ((built_with, capabilities),) = nvidia.trt.said["built"]
    assert built_with == flags and capabilities == (["CURRENT"] if name == "tensorrt_rtx" else [])
    types = {tensor.data_type for tensor in onnx.load_model_from_string(program._engine).graph.initializer}
    assert types == {TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT}


@with_version("11.0.1", "1.7.1.116")
def test_int8_of_strongly_typed_networks_is_refused_with_the_reason(nvidia: Nvidia) -> None:
    with pytest.raises(InvalidSettingError, match="QuantizeLinear"):
        TrtBackend(flavour=nvidia.trt.__name__, precision="int8").target()


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_graph_in_half_precision_computes_the_same(workload) -> None:
    graph = to_half(export_onnx(workload.build(), workload.inputs()))
    parsed = onnx.load_model_from_string(graph)
    onnx.checker.check_model(parsed, full_check=True)
    kept = [tensor for tensor in parsed.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    assert all("scales" in tensor.name or tensor.dims == [4] for tensor in kept)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feeds = {f"input_{index}": array for index, array in enumerate(workload.inputs())}
    check_outputs(session.run(None, feeds), expected_outputs(workload), rtol=2e-2, atol=2e-2)


def test_half_precision_refuses_what_it_does_not_know() -> None:
    with pytest.raises(CompileError, match="operator Oddity"):
        to_half(oddity())


def test_half_precision_refuses_a_weight_that_would_overflow() -> None:
    model = onnx.load_model_from_string(export_onnx(CONV_BN_RELU.build(), CONV_BN_RELU.inputs()))
    weight = model.graph.initializer[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(weight.dims, 1e6, np.float32), weight.name))
    with pytest.raises(CompileError, match="does not fit"):
        to_half(model.SerializeToString())


# Building and running, on fakes


def test_a_run_is_replayed_as_a_graph_if_so_asked(nvidia: Nvidia) -> None:
    runner = classic(cuda_graph=True).compile(CONV_BN_RELU).load()
    enqueued = nvidia.device.enqueued
    runner.run()
    runner.run()
    assert (nvidia.device.launches, nvidia.device.enqueued) == (2, enqueued)
    runner.close()


@with_version("1.7.1.116")
def test_what_cannot_be_captured_is_refused(nvidia: Nvidia) -> None:
    program = TrtBackend(cuda_graph=True).compile(CONV_BN_RELU)
    program.load().close()
    nvidia.trt.said["capturable"] = False
    with pytest.raises(CompileError, match="conv-bn-relu: a run cannot be captured"):
        program.load()
    assert nvidia.device.memory == {}


def test_pycuda_refuses_graphs_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for fake in machine(monkeypatch, tmp_path, "8.6.1", "pycuda"):
        with pytest.raises(RuntimeMissingError, match="pycuda captures no CUDA graphs"):
            classic(cuda_graph=True).compile(CONV_BN_RELU).load()
        assert fake.device.memory == {}


def test_closing_gives_all_memory_back(nvidia: Nvidia) -> None:
    runner = classic().compile(CONV_BN_RELU).load()
    assert len(nvidia.device.memory) == 2
    runner.close()
    runner.close()
    assert nvidia.device.memory == {}
    with pytest.raises(RuntimeError, match="closed"):
        runner.run()


def test_too_little_memory_for_one_workload_is_its_failure_alone(nvidia: Nvidia) -> None:
    program = classic().compile(CONV_BN_RELU)
    nvidia.device.failing["cudaMalloc"] = Status.cudaErrorMemoryAllocation
    with pytest.raises(CompileError, match="conv-bn-relu: CUDA: cudaMalloc failed: cudaErrorMemoryAllocation"):
        program.load()
    nvidia.device.failing["cudaMalloc"] = Status.cudaErrorInvalidValue
    with pytest.raises(BackendError, match="cudaErrorInvalidValue") as caught:
        program.load()
    assert not isinstance(caught.value, CompileError)


def test_an_engine_that_cannot_be_loaded_says_why(nvidia: Nvidia) -> None:
    program = classic().compile(CONV_BN_RELU)
    program._engine = b"not an engine"
    with pytest.raises(CompileError, match=r"conv-bn-relu: the engine cannot be loaded: magic tag does not match$"):
        program.load()


def test_an_engine_that_cannot_be_run_says_so_and_leaves_nothing(nvidia: Nvidia) -> None:
    program = classic().compile(CONV_BN_RELU)
    nvidia.trt.said["refuse"] = "out of workspace"
    with pytest.raises(CompileError, match="conv-bn-relu: the engine cannot be run"):
        program.load()
    assert nvidia.device.memory == {}


def test_the_builders_words(nvidia: Nvidia) -> None:
    nvidia.trt.said["refuse"] = "no tactic\nfor this layer"
    with pytest.raises(CompileError, match=r"conv-bn-relu: no tactic for this layer$"):
        classic().compile(CONV_BN_RELU)


def test_all_of_the_parsers_words(nvidia: Nvidia) -> None:
    api = flavours.load("tensorrt")
    one = r"In node 0 \(Oddity\): no importer for this"
    with pytest.raises(CompileError, match=f"^odd: {one}; {one}$"):
        build_engine(api, oddity(), workload="odd", precision="fp32", capabilities=None)


def test_timings_are_kept_from_build_to_build(nvidia: Nvidia) -> None:
    for workload in WORKLOADS[:2]:
        classic().compile(workload)
    assert nvidia.trt.said["timings"] == [b"", b"timings"]
    (kept,) = files.folder().glob("*.timings")
    files.write(kept.name, b"of another card")
    classic().compile(WORKLOADS[2])
    assert nvidia.trt.said["timings"][2:] == [b"of another card", b""]


@with_version("1.7.1.116")
def test_kernels_that_loading_compiled_are_kept(nvidia: Nvidia) -> None:
    program = TrtBackend().compile(CONV_BN_RELU)
    program.load().close()
    assert nvidia.trt.said["kernels"] == []
    program.load().close()
    assert nvidia.trt.said["kernels"] == [b"kernels"]


# What is kept


def test_an_engine_is_built_once(nvidia: Nvidia) -> None:
    classic().compile(CONV_BN_RELU)
    classic(cuda_graph=True).compile(CONV_BN_RELU)
    assert len(nvidia.trt.said["built"]) == 1
    classic(precision="fp16").compile(CONV_BN_RELU)
    nvidia.trt.__version__ = "8.6.2"
    classic().compile(CONV_BN_RELU)
    assert len(nvidia.trt.said["built"]) == 3


@pytest.mark.parametrize("damage", ["cut", "turned", "emptied", "deleted"])
def test_a_damaged_file_is_as_good_as_none(cache: Path, damage: str) -> None:
    files.write("some.engine", b"content" * 100)
    assert files.read("some.engine") == b"content" * 100
    path = cache / "some.engine"
    stored = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes({"cut": stored[:-1], "turned": stored[:-1] + b"x", "emptied": b""}[damage])
    assert files.read("some.engine") is None


@pytest.mark.parametrize("function", ["write", "replace"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        write = fail

        def __init__(self, handle: int, mode: str) -> None:
            os.close(handle)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(os, *(("fdopen", Full) if function == "write" else ("replace", fail)))
    with pytest.raises(BackendError, match=r"No space left on device .*XDG_CACHE_HOME") as caught:
        files.write("some.engine", b"content")
    assert not isinstance(caught.value, CompileError) and "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


# TensorRT-RTX itself


@RTX
def test_the_fake_has_no_method_that_the_real_api_lacks() -> None:
    fake, real = tensorrt(Device(), "1.7.1.116"), flavours.load("tensorrt_rtx").module
    classes = (
        "Builder",
        "IBuilderConfig",
        "ICudaEngine",
        "IExecutionContext",
        "IRuntimeConfig",
        "OnnxParser",
        "Runtime",
    )
    methods = [
        (name, method)
        for name in classes
        for method, value in vars(getattr(fake, name)).items()
        if callable(value) and not method.startswith("_")
    ]
    assert len(methods) > 15
    assert [(name, method) for name, method in methods if not hasattr(getattr(real, name), method)] == []
    for name in ("num_compute_capabilities", "flags"):
        assert hasattr(real.IBuilderConfig, name)
    assert set(real.NetworkDefinitionCreationFlag.__members__) == set(fake.NetworkDefinitionCreationFlag.__members__)
    assert not hasattr(real.BuilderFlag, "FP16") and hasattr(real.BuilderFlag, "TF32")
    assert {"FLOAT", "HALF"} <= set(real.DataType.__members__)
    assert set(real.TensorIOMode.__members__) >= {"INPUT", "OUTPUT"}


@RTX
@pytest.mark.parametrize("capabilities", ["8.6", "12.0", ""])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_real_engines_without_a_gpu(
    cache: Path, capabilities: str, precision: str, capfd: pytest.CaptureFixture[str]
) -> None:
    backend = TrtBackend(compute_capabilities=capabilities, precision=precision)
    for workload in WORKLOADS:
        built = backend.build(workload)
        assert built.size_bytes > 10_000 and not built.kept
        again = TrtBackend(compute_capabilities=capabilities, precision=precision).build(workload)
        assert again == Built(size_bytes=built.size_bytes, kept=True)
    assert len(list(cache.iterdir())) == len(WORKLOADS)
    assert capfd.readouterr() == ("", "")


@RTX
def test_a_damaged_engine_is_built_anew(cache: Path) -> None:
    backend = TrtBackend(compute_capabilities="8.6")
    size = backend.build(CONV_BN_RELU).size_bytes
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert backend.build(CONV_BN_RELU) == Built(size_bytes=size, kept=False)
    assert backend.build(CONV_BN_RELU).kept


@RTX
def test_a_refused_graph_gives_the_real_parsers_words(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError, match=r"odd: In node 0 .*Oddity.*Plugin not found") as caught:
        build_engine(flavours.load("tensorrt_rtx"), oddity(), workload="odd", precision="fp32", capabilities=["8.6"])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@RTX
def test_the_real_builder_says_what_it_lacks_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.availability()["trt"].available:
        pytest.skip("there is a GPU here")
    graph = export_onnx(CONV_BN_RELU.build(), CONV_BN_RELU.inputs())
    with pytest.raises(CompileError, match="CUDA driver"):
        build_engine(flavours.load("tensorrt_rtx"), graph, workload="any", precision="fp32", capabilities=None)


@RTX
def test_a_workload_that_cannot_be_exported_is_not_built(cache: Path) -> None:
    with pytest.raises(CompileError, match="unrunnable: ArithmeticError"):
        TrtBackend().build(UNRUNNABLE)
    assert not cache.exists()


@RTX
def test_a_real_target_is_of_no_machine() -> None:
    target = TrtBackend().build_target()
    assert target.device == "sm86-sm120" and target.settings["compute_capabilities"] == "8.6,12.0"
    assert "nothing measured" in target.device_name
    assert target.key == TrtBackend(compute_capabilities="12.0,8.6").build_target().key
    assert target.key != TrtBackend(compute_capabilities="8.6").build_target().key


@RTX
def test_a_compute_capability_that_is_not_built_for() -> None:
    with pytest.raises(InvalidSettingError, match=r"does not build for compute capability 6\.1; it does for 7\.5, 8"):
        TrtBackend(compute_capabilities="6.1").build_target()
