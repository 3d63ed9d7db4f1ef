"""What backends have in common that run on this machine's CPU and have finished when a run returns."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from backends.cpu_clock import PerfCounterClock
from backends.cpu_target import cpu_target
from backends.protocol import Availability, Backend, Target
from backends.runtimes import TORCH, Runtime, together


class CpuBackend(Backend):
    """A backend whose runtime has a name; :meth:`compile` is left to write.

    Attributes:
        runtime: what runs.
        needs: what else has to be here, such as ``backends.runtimes.onnx(INSTALL)``.
        precision: what is computed in: part of the target.
    """

    runtime: ClassVar[Runtime]
    needs: ClassVar[tuple[Runtime, ...]] = ()
    precision: ClassVar[str] = "fp32"

    @classmethod
    def availability(cls) -> Availability:
        """Whether the runtime, and what else is needed, can be imported in a version that works."""
        return together(cls.runtime, *cls.needs, TORCH)

    @cached_property
    def clock(self) -> PerfCounterClock:
        """Wall time: a run has finished when it returns."""
        return PerfCounterClock()

    @property
    def runtime_version(self) -> str:
        """The runtime's, as targets have it."""
        return self.runtime.version(self.runtime.load())

    def target(self, device: str | None = None) -> Target:
        """This machine's CPU under the runtime and these settings."""
        return cpu_target(
            device,
            backend=self.name,
            runtime=self.runtime.module,
            runtime_version=self.runtime_version,
            precision=self.precision,
            settings=self.settings,
        )
