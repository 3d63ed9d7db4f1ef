"""What is ONNX Runtime's own."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from torch import Tensor, nn

from backends import environment
from backends.errors import CompileError, InvalidSettingError
from backends.ort import OrtBackend
from backends.protocol import Workload, check_outputs
from backends.testing import CONV_BN_RELU, IDENTITY, build, expected_outputs

MACHINE = {"cpu_model": "AMD EPYC 7B13", "cpu_count": 2}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "9adcf0c53190dfe0fea5eb454a25427d"),
        ({"threads": 2, "spinning": True, "graph_optimization": "basic"}, "44c3fda13f63f28465de16e65dc8255f"),
    ],
)
def test_targets_keep_the_keys_that_databases_have(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], key: str
) -> None:
    """Another key is another target: all that was measured on the CPU would have to be measured anew."""
    monkeypatch.setattr(environment, "describe", lambda: dict(MACHINE))
    monkeypatch.setattr(environment, "fingerprint", lambda env: "0123456789abcdef")
    monkeypatch.setattr(onnxruntime, "__version__", "1.32.0")
    target = OrtBackend(**settings).target()
    assert target.device == "cpu-epyc-7b13-2c"
    assert target.key == key


def test_only_the_cpu_provider_is_used_and_threads_are_as_asked() -> None:
    program = OrtBackend(threads=2, spinning=True).compile(CONV_BN_RELU)
    session = program.load()._session
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"


@pytest.mark.parametrize(("level", "operators"), [("disable", 2), ("extended", 1)])
def test_the_graph_is_rewritten_once_and_as_far_as_asked(level: str, operators: int) -> None:
    program = OrtBackend(graph_optimization=level).compile(CONV_BN_RELU)
    assert len(onnx.load(program._path).graph.node) == operators
    options = program.load()._session.get_session_options()
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def test_pools_do_not_spin_unless_asked() -> None:
    session = OrtBackend().compile(IDENTITY).load()._session
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": "two"}, {"graph_optimization": "most"}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSettingError):
        OrtBackend(**settings)


def test_closing_a_program_removes_its_file() -> None:
    program = OrtBackend().compile(IDENTITY)
    assert program._path.exists()
    program.close()
    assert not program._path.exists()


def test_a_program_that_is_no_model_is_a_compile_error_with_the_runtimes_words() -> None:
    program = OrtBackend().compile(IDENTITY)
    program._path.write_bytes(b"not a model")
    with pytest.raises(CompileError, match=r"identity: .*INVALID_PROTOBUF") as caught:
        program.load()
    assert "\n" not in str(caught.value)


class ClassIndices(nn.Module):
    """What a segmentation network may end in."""

    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(dim=1)


@pytest.mark.slow
def test_outputs_may_be_integers() -> None:
    workload = Workload(name="indices", build=lambda: build(ClassIndices), input_shapes=((1, 5, 4, 4),))
    runner = OrtBackend().compile(workload).load()
    runner.run()
    check_outputs(runner.outputs(), expected_outputs(workload), rtol=0, atol=0)


def test_a_closed_runner_does_not_run() -> None:
    runner = OrtBackend().compile(IDENTITY).load()
    runner.close()
    with pytest.raises(RuntimeError, match="closed"):
        runner.run()
