"""What every backend must do.

In a plugin's tests::

    from backends.testing import BackendContract

    class TestMyBackend(BackendContract):
        backend_class = MyBackend
        runtime_modules = ("my_runtime",)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backends import registry
from backends.errors import BackendError, CompileError, InvalidSettingError
from backends.protocol import Array, Backend, Runner, Setting, Target, Workload, check_outputs


class ConvBnRelu(nn.Module):
    """What most operators are made of; the norm's statistics are not the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.norm(self.conv(x)))
        return y


class ResizeConcatConv(nn.Module):
    """Two inputs of two scales: how decoders merge."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 8, 3, padding=1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        larger = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        y: Tensor = self.conv(torch.cat([fine, larger], dim=1))
        return y


class Unrunnable(nn.Module):
    """Builds, but does not run."""

    def forward(self, x: Tensor) -> Tensor:
        raise ArithmeticError("cannot run\nwith a second line")


def build(cls: Callable[[], nn.Module]) -> nn.Module:
    """The module in eval mode, with the same weights every time and norms that do something."""
    state = torch.get_rng_state()
    torch.manual_seed(7)
    module = cls()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            nn.init.normal_(norm.bias)
    torch.set_rng_state(state)
    return module.eval()


CONV_BN_RELU = Workload(name="conv-bn-relu", build=lambda: build(ConvBnRelu), input_shapes=((1, 8, 24, 32),))
RESIZE_CONCAT_CONV = Workload(
    name="resize-concat-conv",
    build=lambda: build(ResizeConcatConv),
    input_shapes=((1, 8, 12, 20), (1, 4, 6, 10)),
)
IDENTITY = Workload(name="identity", build=lambda: build(nn.Identity), input_shapes=((1, 4, 8, 8),))
UNRUNNABLE = Workload(name="unrunnable", build=lambda: build(Unrunnable), input_shapes=((1, 4, 8, 8),))
WORKLOADS = (CONV_BN_RELU, RESIZE_CONCAT_CONV, IDENTITY)


def expected_outputs(workload: Workload) -> tuple[Array, ...]:
    """What torch makes of the workload's inputs, in float32 on the CPU."""
    with torch.inference_mode():
        result = workload.build()(*(torch.from_numpy(array) for array in workload.inputs()))
    return tuple(tensor.numpy() for tensor in (result if isinstance(result, (tuple, list)) else (result,)))


class BackendContract:
    """Subclass it, name the class, and pytest runs the suite.

    Attributes:
        backend_class: what is tested.
        settings: how it is made; the defaults where nothing is said.
        rtol, atol: how near to torch's float32 the outputs must be; a lower precision asks for more room.
        runtime_modules: top-level modules that importing the backend's module must not bring along.
    """

    backend_class: ClassVar[type[Backend]]
    settings: ClassVar[Mapping[str, object]] = {}
    rtol: ClassVar[float] = 1e-4
    atol: ClassVar[float] = 1e-4
    runtime_modules: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend under test. Override it where making one takes more than settings."""
        return self.backend_class(**self.settings)

    @pytest.fixture
    def runner(self, backend: Backend) -> Iterator[Runner]:
        """A loaded conv-bn-relu."""
        program = backend.compile(CONV_BN_RELU)
        runner = program.load()
        yield runner
        runner.close()
        program.close()

    def test_availability_is_told_without_an_exception(self) -> None:
        here = self.backend_class.availability()
        assert here.available, here.reason
        assert here.runtime and here.runtime_version

    def test_it_is_registered_under_its_name(self) -> None:
        assert registry.get(self.backend_class.name) is self.backend_class

    def test_importing_it_imports_no_runtime(self) -> None:
        code = (
            "import importlib, sys; importlib.import_module(sys.argv[1]); "
            "found = {name.partition('.')[0] for name in sys.modules}.intersection(sys.argv[2:]); "
            "sys.exit(' '.join(sorted(found)) or 0)"
        )
        paths = f"import sys; sys.path[:] = {sys.path!r}; "
        command = [sys.executable, "-c", paths + code, self.backend_class.__module__, *self.runtime_modules]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def test_an_unknown_setting_is_refused_in_one_line(self) -> None:
        with pytest.raises(InvalidSettingError) as caught:
            self.backend_class(**self.settings, no_such_setting=1)
        assert "no_such_setting" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_bad_value_of_any_setting_is_refused_in_one_line(self) -> None:
        for name, setting in self.backend_class.settings_schema.items():
            for value in _bad_values(setting):
                with pytest.raises(InvalidSettingError) as caught:
                    self.backend_class(**{**self.settings, name: value})
                assert name in str(caught.value)
                assert "\n" not in str(caught.value)

    def test_the_target_is_complete(self, backend: Backend) -> None:
        target = backend.target()
        assert target.backend == self.backend_class.name
        for part in ("device", "device_name", "runtime", "runtime_version", "precision", "fingerprint"):
            assert getattr(target, part), part
        assert dict(target.settings) == backend.settings
        assert set(target.settings) == set(self.backend_class.settings_schema)
        assert target.environment

    def test_the_device_can_be_named(self, backend: Backend) -> None:
        assert backend.target(device="my-device").device == "my-device"

    def test_equal_settings_are_one_target(self, backend: Backend) -> None:
        assert self.backend_class(**self.settings).target().key == backend.target().key

    def test_other_settings_are_another_target(self, backend: Backend) -> None:
        for name, setting in self.backend_class.settings_schema.items():
            for value in _other_values(setting):
                other = self._target_with(name, value)
                if other is not None and dict(other.settings) != backend.settings:
                    assert other.key != backend.target().key

    @pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
    def test_it_computes_what_torch_computes(self, backend: Backend, workload: Workload) -> None:
        program = backend.compile(workload)
        runner = program.load()
        runner.run()
        check_outputs(runner.outputs(), expected_outputs(workload), rtol=self.rtol, atol=self.atol)
        runner.close()
        program.close()

    def test_running_again_changes_nothing(self, runner: Runner) -> None:
        for _ in range(3):
            runner.run()
        check_outputs(runner.outputs(), expected_outputs(CONV_BN_RELU), rtol=self.rtol, atol=self.atol)

    def test_outputs_are_copies(self, runner: Runner) -> None:
        runner.run()
        for array in runner.outputs():
            array[...] = np.nan
        assert all(np.isfinite(array).all() for array in runner.outputs())

    def test_two_loads_are_independent(self, backend: Backend) -> None:
        program = backend.compile(CONV_BN_RELU)
        first, second = program.load(), program.load()
        first.run()
        first.close()
        second.run()
        check_outputs(second.outputs(), expected_outputs(CONV_BN_RELU), rtol=self.rtol, atol=self.atol)
        second.close()
        program.close()

    def test_closing_twice_is_harmless(self, backend: Backend) -> None:
        program = backend.compile(IDENTITY)
        runner = program.load()
        for closable in (runner, runner, program, program):
            closable.close()

    def test_the_clock_is_one_object(self, backend: Backend) -> None:
        # What starts an interval must be what ends it.
        assert backend.clock is backend.clock

    def test_the_clock_sees_more_time_in_more_runs(self, backend: Backend, runner: Runner) -> None:
        runner.run()
        once = min(_time(backend, runner, 1) for _ in range(10))
        often = min(_time(backend, runner, 20) for _ in range(10))
        assert once > 0
        assert often > 2 * once

    def test_a_workload_that_cannot_run_is_a_compile_error_and_spares_the_others(self, backend: Backend) -> None:
        with pytest.raises(CompileError) as caught:
            backend.compile(UNRUNNABLE).load()
        assert UNRUNNABLE.name in str(caught.value)
        assert "\n" not in str(caught.value)
        program = backend.compile(CONV_BN_RELU)
        runner = program.load()
        runner.run()
        runner.close()
        program.close()

    def _target_with(self, name: str, value: Any) -> Target | None:
        """The target with one setting changed, where this machine and the other settings allow it."""
        try:
            return self.backend_class(**{**self.settings, name: value}).target()
        except BackendError:
            return None


def _time(backend: Backend, runner: Runner, repeats: int) -> float:
    clock = backend.clock
    clock.start()
    for _ in range(repeats):
        runner.run()
    return clock.stop()


def _bad_values(setting: Setting) -> list[object]:
    bad: list[object] = []
    if setting.choices is not None or not isinstance(setting.default, str):
        bad.append("certainly-not-a-value")
    if setting.minimum is not None:
        bad.append(setting.minimum - 1)
    return bad


def _other_values(setting: Setting) -> list[object]:
    if setting.choices is not None:
        return [choice for choice in setting.choices if choice != setting.default]
    if isinstance(setting.default, bool):
        return [not setting.default]
    return [setting.default + 1] if isinstance(setting.default, (int, float)) else []
