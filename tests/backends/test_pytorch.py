"""What is PyTorch's own."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor, nn

from backends.errors import CompileError, InvalidSettingError, RuntimeMissingError
from backends.protocol import Workload
from backends.pytorch import TorchBackend
from backends.testing import CONV_BN_RELU, IDENTITY, build


def test_each_run_has_its_runners_threads() -> None:
    before = torch.get_num_threads()
    try:
        one = TorchBackend(threads=1).compile(IDENTITY).load()
        two = TorchBackend(threads=2).compile(IDENTITY).load()
        for runner, threads in ((one, 1), (two, 2), (one, 1)):
            runner.run()
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_channels_last_reaches_weights_and_inputs() -> None:
    runner = TorchBackend(channels_last=True).compile(CONV_BN_RELU).load()
    assert runner._inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert runner._module.conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings", [{"mode": "cudagraph"}, {"tf32": True}, {"mode": "script"}])
def test_settings_that_need_cuda_or_do_not_exist_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSettingError):
        TorchBackend(**settings)


def test_without_cuda_asking_for_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeMissingError, match="CUDA") as caught:
        TorchBackend(device_type="cuda")
    assert "\n" not in str(caught.value)


def test_auto_is_resolved_before_it_becomes_part_of_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TorchBackend(device_type="auto").target().key == TorchBackend(device_type="cpu").target().key


def test_a_module_that_cannot_be_built_is_a_compile_error() -> None:
    def fail() -> nn.Module:
        raise ValueError("no such operator")

    with pytest.raises(CompileError, match="broken: ValueError: no such operator"):
        TorchBackend().compile(Workload(name="broken", build=fail, input_shapes=((1, 1, 1, 1),)))


class BranchOnValue(nn.Module):
    """What cannot be one graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


@pytest.mark.slow
def test_what_does_not_compile_is_never_run_eagerly_instead() -> None:
    workload = Workload(name="branch", build=lambda: build(BranchOnValue), input_shapes=((1, 1, 4, 4),))
    TorchBackend().compile(workload)
    with pytest.raises(CompileError, match="branch") as caught:
        TorchBackend(mode="compile").compile(workload)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_many_workloads_of_one_class_are_each_compiled() -> None:
    """torch.compile gives up on a function after a few specializations; a sweep has hundreds of one class."""
    backend = TorchBackend(mode="compile")
    torch._dynamo.utils.counters.clear()
    with torch._dynamo.config.patch(recompile_limit=1):
        for size in (4, 5):
            workload = Workload(name="relu", build=lambda: build(nn.ReLU), input_shapes=((1, 1, size, 4),))
            backend.compile(workload).load().run()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
def test_no_compiler_is_a_compile_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler found\nset CXX")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", no_compiler)
    with pytest.raises(CompileError) as caught:
        TorchBackend(mode="compile").compile(CONV_BN_RELU)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_a_cuda_graph_is_replayed() -> None:
    runner = TorchBackend(device_type="cuda", mode="cudagraph").compile(CONV_BN_RELU).load()
    assert runner._graph is not None


@pytest.mark.gpu
def test_a_gpu_is_its_own_device() -> None:
    cuda, cpu = TorchBackend(device_type="cuda").target(), TorchBackend().target()
    assert cuda.device != cpu.device
    assert cuda.fingerprint != cpu.fingerprint
    assert cuda.device_name == torch.cuda.get_device_name()
