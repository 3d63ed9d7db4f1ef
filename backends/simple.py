"""A backend in one method, for whatever runs on this machine's CPU and has finished when a run returns.

:class:`SimpleBackend` is :class:`~backends.protocol.Backend` with everything filled in that such runtimes have in
common. One that runs elsewhere, keeps programs in files or binds its outputs overrides what differs, or writes the
protocol's classes itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backends.compiling import compile_errors
from backends.cpu_backend import CpuBackend
from backends.protocol import Array, Program, Runner, Workload

Run = Callable[[], Any]
"""Runs once, and returns the outputs as the runtime has them: one, or a tuple or list of several."""


@dataclass(frozen=True, kw_only=True)
class KeptWorkload(Workload):
    """A workload that keeps what it was exported to: it is loaded many times."""

    @cached_property
    def onnx(self) -> bytes:
        """The module as an ONNX model: inputs ``input_0``…, outputs ``output_0``…, of fixed shapes.

        Exported when it is first asked for. Whoever asks names the ONNX library in ``SimpleBackend.needs``.
        """
        from backends.onnx_export import export_onnx

        return export_onnx(self.build(), self.inputs())


class SimpleBackend(CpuBackend):
    """Subclass it, name the runtime as :class:`~backends.cpu_backend.CpuBackend` has it, and write :meth:`load`."""

    @abstractmethod
    def load(self, workload: KeptWorkload) -> Run:
        """Load a workload anew, with memory of its own, and return what runs it.

        All that the returned function does is in the clock; what this method does is not. It is called for every
        visit, and once when the workload is compiled, where whatever it raises becomes the workload's failure.

        Args:
            workload: ``build()`` makes the module, ``onnx`` is its export, ``inputs()`` are its inputs.
        """

    def to_arrays(self, returned: Any) -> tuple[Array, ...]:
        """What a run returned, as copies on the host. Override it where numpy cannot read the runtime's own type."""
        several = returned if isinstance(returned, (tuple, list)) else (returned,)
        return tuple(np.array(one) for one in several)

    def compile(self, workload: Workload) -> Program:
        """Load it and run it once, so that one that cannot run is found here."""
        kept = KeptWorkload(name=workload.name, build=workload.build, input_shapes=workload.input_shapes)
        program = _SimpleProgram(self, kept)
        program.load().close()
        return program


class _SimpleProgram(Program):
    """A workload, and how to load it."""

    def __init__(self, backend: SimpleBackend, workload: KeptWorkload) -> None:
        self._backend, self._workload = backend, workload

    def load(self) -> Runner:
        """Loaded anew, and run once."""
        with compile_errors(self._workload.name):
            runner = _SimpleRunner(self._backend.load(self._workload), self._backend.to_arrays)
            runner.run()
        return runner

    def close(self) -> None:
        """Nothing: the workload goes with the program."""


class _SimpleRunner(Runner):
    """The function that runs, and what it returned last."""

    def __init__(self, run: Run, to_arrays: Callable[[Any], tuple[Array, ...]]) -> None:
        self._run: Run | None = run
        self._to_arrays = to_arrays
        self._returned: Any = ()

    def run(self) -> None:
        """Run once; it has finished on return."""
        if self._run is None:
            raise RuntimeError("this runner is closed")
        self._returned = self._run()

    def outputs(self) -> tuple[Array, ...]:
        """Copies of what the last run returned."""
        return self._to_arrays(self._returned)

    def close(self) -> None:
        """Let go of everything that was loaded."""
        self._run = None
        self._returned = ()
