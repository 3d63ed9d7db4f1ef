"""What is ONNX Runtime's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
from filelock import FileLock
from torch import Tensor, nn

from backends import ort
from backends.errors import BackendError, CompileError, InvalidSettingError
from backends.ort import OrtBackend
from backends.protocol import Workload, check_outputs
from backends.testing import CONV_BN_RELU, IDENTITY, build, expected_outputs

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import os, sys
from backends.ort import OrtBackend
from backends.testing import IDENTITY
program = OrtBackend().compile(IDENTITY)
program.load().run()
print(program._path, flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own for this process and its children."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ort._make_programs_folder.cache_clear()
    yield tmp_path / "latency-db" / "programs"
    ort._make_programs_folder.cache_clear()


def run_once(end: str) -> Path:
    """The path of the model that a process of its own exported before it came to its end."""
    done = subprocess.run([sys.executable, "-c", RUN, end], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return Path(done.stdout.strip())


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


def test_the_folder_is_private_and_goes_with_its_process(cache_home: Path) -> None:
    path = run_once("exit")
    assert path.parent.parent == cache_home
    assert not path.parent.exists()


def test_what_a_killed_process_leaves_is_swept(cache_home: Path) -> None:
    left = run_once("kill")
    assert left.exists()
    assert left.parent.stat().st_mode & 0o077 == 0
    _make_old(left.parent)
    OrtBackend().compile(IDENTITY)
    assert not left.parent.exists()


def test_folders_that_are_young_or_in_use_are_not_swept(cache_home: Path) -> None:
    young, used = cache_home / "1-young", cache_home / "2-used"
    for folder in (young, used):
        folder.mkdir(parents=True)
    with FileLock(used / "lock"):
        _make_old(used)
        OrtBackend().compile(IDENTITY)
        assert young.exists()
        assert used.exists()


def test_an_unusable_cache_folder_is_one_clear_line(cache_home: Path) -> None:
    cache_home.parent.parent.joinpath("latency-db").write_text("in the way")
    with pytest.raises(BackendError, match="latency-db") as caught:
        OrtBackend().compile(IDENTITY)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def _make_old(folder: Path) -> None:
    then = time.time() - 3600
    os.utime(folder, (then, then))
