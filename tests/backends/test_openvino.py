"""What is OpenVINO's own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from torch import Tensor, nn

from backends import environment, onnx_export, program_files
from backends.errors import CompileError, InvalidSettingError
from backends.openvino import OPENVINO, TELEMETRY, OpenVinoBackend
from backends.protocol import Workload, check_outputs
from backends.testing import CONV_BN_RELU, IDENTITY, build, expected_outputs

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install '.[openvino]'"
)

RUN = """
import sys
from backends.openvino import OpenVinoBackend
from backends.testing import IDENTITY
runner = OpenVinoBackend().compile(IDENTITY).load()
runner.run()
runner.close()
sent = [name for name in sys.modules if name.startswith("openvino_telemetry")]
assert not sent, sent
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="OpenVINO takes no more threads than there are cores: one")
def test_the_plugin_does_as_the_settings_say() -> None:
    request = OpenVinoBackend(threads=2, pinning=True).compile(CONV_BN_RELU).load()._request
    model = request.get_compiled_model()
    said = {
        name: model.get_property(name)
        for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT", "ENABLE_CPU_PINNING")
    }
    assert {name: str(value).rpartition(".")[2] for name, value in said.items()} == {
        "INFERENCE_NUM_THREADS": "2",
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": "True",
    }


def test_float32_is_computed_in_float32_and_threads_go_where_there_is_room() -> None:
    model = OpenVinoBackend().compile(CONV_BN_RELU).load()._request.get_compiled_model()
    assert model.get_property("INFERENCE_PRECISION_HINT") == OPENVINO.load().Type.f32
    assert model.get_property("INFERENCE_NUM_THREADS") == 1
    assert model.get_property("ENABLE_CPU_PINNING") is False
    assert OpenVinoBackend().target().precision == "fp32"


def test_more_threads_than_there_are_cores_are_refused_and_not_fewer_taken() -> None:
    with pytest.raises(InvalidSettingError, match=r"threads=4096: OpenVINO takes no more than \d+ here"):
        OpenVinoBackend(threads=4096).compile(IDENTITY)


def test_the_target_is_of_this_cpu_and_its_version_is_numbers() -> None:
    target = OpenVinoBackend().target()
    env = environment.describe()
    assert target.device == environment.device_slug(str(env["cpu_model"]), os.cpu_count() or 1)
    assert OPENVINO.load().__version__.startswith(target.runtime_version + "-")
    assert target.runtime_version.count(".") == 2


def test_a_model_is_compiled_once_and_loaded_from_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    program = OpenVinoBackend().compile(CONV_BN_RELU)
    core = OPENVINO.load().Core

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(core, "compile_model", refuse)
    runner = program.load()
    runner.run()
    check_outputs(runner.outputs(), expected_outputs(CONV_BN_RELU), rtol=1e-4, atol=1e-4)


def test_inputs_and_outputs_stay_where_they_are() -> None:
    runner = OpenVinoBackend().compile(CONV_BN_RELU).load()

    def addresses() -> list[int]:
        tensors = [*runner._request.input_tensors, *runner._request.output_tensors]
        return [tensor.data.ctypes.data for tensor in tensors]

    before = addresses()
    for _ in range(3):
        runner.run()
    assert addresses() == before == [*before[:1], runner._outputs[0].data.ctypes.data]


def test_closing_a_program_removes_its_file() -> None:
    program = OpenVinoBackend().compile(IDENTITY)
    assert program._path.parent == program_files.folder() and program._path.exists()
    program.close()
    assert not program._path.exists()


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_program_that_is_no_model_is_a_compile_error_with_the_runtimes_words(content: bytes) -> None:
    program = OpenVinoBackend().compile(IDENTITY)
    program._path.write_bytes(content)
    with pytest.raises(CompileError, match=r"^identity: RuntimeError: .*Cannot import compiled blob") as caught:
        program.load()
    assert "\n" not in str(caught.value) and "core.cpp" not in str(caught.value)


def test_an_operator_that_openvino_does_not_know_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("input_0", "output_0")]
    graph = helper.make_graph([helper.make_node("Oddity", ["input_0"], ["output_0"])], "odd", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    monkeypatch.setattr(onnx_export, "export_onnx", lambda module, inputs: model.SerializeToString())
    with pytest.raises(CompileError, match=r"^identity: RuntimeError: No conversion rule .*Oddity") as caught:
        OpenVinoBackend().compile(IDENTITY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": "two"}, {"pinning": "perhaps"}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSettingError):
        OpenVinoBackend(**settings)


def test_a_closed_runner_does_not_run() -> None:
    runner = OpenVinoBackend().compile(IDENTITY).load()
    runner.close()
    with pytest.raises(RuntimeError, match="closed"):
        runner.run()


class ClassIndices(nn.Module):
    """What a segmentation network may end in."""

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(dim=1)


@pytest.mark.slow
def test_outputs_may_be_integers() -> None:
    workload = Workload(name="indices", build=lambda: build(ClassIndices), input_shapes=((1, 5, 4, 4),))
    runner = OpenVinoBackend().compile(workload).load()
    runner.run()
    check_outputs(runner.outputs(), expected_outputs(workload), rtol=0, atol=0)


def test_nothing_is_printed_and_nobody_is_told(tmp_path: Path) -> None:
    """At its import OpenVINO would report to its makers, and leave files in the user's home."""
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "intel").exists()


def test_telemetry_is_hidden_from_openvino_alone() -> None:
    OPENVINO.load()
    assert sys.modules.get(TELEMETRY, "absent") is not None
