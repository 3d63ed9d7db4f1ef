"""PyTorch on the CPU in float64, as a backend for latency-db.

The module imports no torch: listing backends must stay quick. What needs it imports it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from backends.compiling import compile_errors
from backends.cpu_clock import PerfCounterClock
from backends.cpu_target import cpu_target
from backends.protocol import Array, Availability, Backend, Program, Runner, Setting, Target, Workload
from backends.runtimes import Runtime

if TYPE_CHECKING:
    from torch import nn

TORCH = Runtime(module="torch", has="nn", oldest=(2, 6), before=3, install="pip install torch")


class Fp64Backend(Backend):
    """Runs the module with weights and activations in float64."""

    name = "torch-fp64"
    settings_schema: ClassVar[dict[str, Setting]] = {
        "threads": Setting(default=1, minimum=1, help="threads within an operator"),
    }

    @classmethod
    def availability(cls) -> Availability:
        """Whether torch is here: say how to get it, never raise."""
        return TORCH.availability()

    @cached_property
    def clock(self) -> PerfCounterClock:
        """A CPU run has finished when it returns, so wall time is the device's time."""
        return PerfCounterClock()

    def target(self, device: str | None = None) -> Target:
        """Everything that makes a latency comparable; the precision is the one thing that is ours."""
        return cpu_target(
            device,
            backend=self.name,
            runtime="torch",
            runtime_version=TORCH.version(TORCH.load()),
            precision="fp64",
            settings=self.settings,
        )

    def compile(self, workload: Workload) -> Program:
        """Build the module and run it once, so that one that cannot run is found here."""
        with compile_errors(workload.name):
            program = _Fp64Program(workload, int(self.settings["threads"]))
            program.load().run()
        return program


class _Fp64Program(Program):
    def __init__(self, workload: Workload, threads: int) -> None:
        self._workload = workload
        self._threads = threads

    def load(self) -> Runner:
        """A module of its own each time: where memory lies is part of the noise."""
        return _Fp64Runner(self._workload.build(), self._workload.inputs(), self._threads)

    def close(self) -> None:
        """Nothing is held."""


class _Fp64Runner(Runner):
    def __init__(self, module: nn.Module, inputs: tuple[Array, ...], threads: int) -> None:
        import torch

        self._module: nn.Module | None = module.double()
        self._inputs = tuple(torch.from_numpy(array).double() for array in inputs)
        self._results: tuple[torch.Tensor, ...] = ()
        self._threads = threads

    def run(self) -> None:
        """Run once."""
        import torch

        if self._module is None:
            raise RuntimeError("this runner is closed")
        if torch.get_num_threads() != self._threads:  # It is the process's number, so another runner may have set it.
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            result = self._module(*self._inputs)
        self._results = tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def outputs(self) -> tuple[Array, ...]:
        """Copies on the host; the contract compares them in float32."""
        return tuple(result.float().numpy().copy() for result in self._results)

    def close(self) -> None:
        """Let go of everything; again is harmless."""
        self._module = None
        self._inputs = ()
        self._results = ()
