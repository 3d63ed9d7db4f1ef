"""Compiling for devices that are not here: what a backend offers that can do so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from backends.protocol import Availability, Target, Workload


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of one workload.

    Attributes:
        size_bytes: of the program.
        kept: it was there already, from an earlier call.
    """

    size_bytes: int
    kept: bool


class Buildable(ABC):
    """A backend that compiles without the device. It measures nothing there, so its target is of no machine."""

    @classmethod
    @abstractmethod
    def build_availability(cls) -> Availability:
        """Whether it can compile here, which takes less than measuring; never raises for what is missing."""

    @abstractmethod
    def build_target(self) -> Target:
        """What is compiled for: a device by what the compiler knows of it, never a machine's name.

        Raises:
            BackendError: these settings cannot be compiled for without the device.
        """

    @abstractmethod
    def build(self, workload: Workload) -> Built:
        """Compile, and keep what was compiled where the next call finds it.

        Raises:
            CompileError: the workload cannot be exported or built; others may well be.
        """
