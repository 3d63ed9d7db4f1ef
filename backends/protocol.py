"""What a backend is: the words that every runtime and the one timing loop share.

A *workload* is anything that can be run: a way to build a ``torch.nn.Module`` and the shapes of its inputs.
A backend *compiles* it once to a program (an ONNX file, an engine, a module) and the program is *loaded* as a
runner as often as the timing loop asks, because where the memory of one loading happens to lie is part of the noise.
A runner runs; a clock, which belongs to the backend's device, times. Nothing here imports a runtime or torch.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from backends.errors import InvalidSettingError

if TYPE_CHECKING:
    from torch import nn

    from backends.observers import Observer

Shape = tuple[int, ...]
SettingValue = str | int | float | bool
Array = np.ndarray[Any, np.dtype[Any]]
INPUT_BLOCK = 65_537
REFERENCE_VERSION = 1
"""Of the reference workload that every sample is divided by. Part of every target: another reference, another unit."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Something to run: a module, built only when a backend needs it, and its inputs.

    Attributes:
        name: for people: progress, errors.
        build: makes the module, in eval mode, with the same weights each time it is called.
        input_shapes: one NCHW shape per input; the inputs are float32.
    """

    name: str
    build: Callable[[], nn.Module]
    input_shapes: tuple[Shape, ...]

    def inputs(self, seed: int = 0) -> tuple[Array, ...]:
        """Standard normal float32 inputs, the same for the same seed.

        A block of 65,537 numbers is drawn and repeated: programs are loaded often, and drawing millions of numbers for
        each would take longer than running them. The length is prime, so no row or channel repeats another.
        """
        block = _input_block(seed)
        return tuple(np.resize(block, shape) for shape in self.input_shapes)


@cache
def _input_block(seed: int) -> Array:
    block = np.random.default_rng(seed).standard_normal(INPUT_BLOCK, dtype=np.float32)
    block.flags.writeable = False
    return block


class Clock(Protocol):
    """Times what happens between ``start`` and ``stop`` on the device that the backend runs on."""

    name: str

    def start(self) -> None:
        """Begin an interval."""

    def stop(self) -> float:
        """End the interval, wait for the device, and return its length in milliseconds."""


class Runner(ABC):
    """A loaded program with its inputs already on the device."""

    @abstractmethod
    def run(self) -> None:
        """Run once. May return before the device has finished: the clock waits for it."""

    @abstractmethod
    def outputs(self) -> tuple[Array, ...]:
        """The outputs of the last ``run``, on the host."""

    @abstractmethod
    def close(self) -> None:
        """Free what the runner holds. Calling it twice is harmless."""


class Program(ABC):
    """A compiled workload."""

    @abstractmethod
    def load(self) -> Runner:
        """A new runner, with memory of its own.

        Raises:
            CompileError: the runtime refuses the program.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what the program holds on disk or on the device. Calling it twice is harmless."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a backend: part of the target, because it changes what is measured."""

    default: SettingValue
    help: str
    choices: tuple[SettingValue, ...] | None = None
    minimum: int | None = None

    def parse(self, name: str, value: object) -> SettingValue:
        """``value`` as this setting's type.

        Raises:
            InvalidSettingError: wrong type, below the minimum or not among the choices.
        """
        kind = type(self.default)
        parsed: SettingValue
        try:
            if kind is bool:
                parsed = _parse_bool(value)
            elif kind is int:
                parsed = int(str(value))
            elif kind is float:
                parsed = float(str(value))
            else:
                parsed = str(value)
        except ValueError:
            raise InvalidSettingError(f"setting {name}={value!r} is not a valid {kind.__name__}") from None
        if self.choices is not None and parsed not in self.choices:
            raise InvalidSettingError(f"setting {name}={value!r} is not one of {', '.join(map(str, self.choices))}")
        if self.minimum is not None and isinstance(parsed, (int, float)) and parsed < self.minimum:
            raise InvalidSettingError(f"setting {name}={value!r} is below {self.minimum}")
        return parsed


def _parse_bool(value: object) -> bool:
    text = str(value).lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether a backend can run here, and if not what to do about it."""

    available: bool
    runtime: str
    runtime_version: str | None = None
    reason: str | None = None
    install: str | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a latency is *of*.

    device × backend × runtime version × precision × settings × environment fingerprint: change any of them and it is
    another target.
    """

    device: str
    device_name: str
    backend: str
    runtime: str
    runtime_version: str
    precision: str
    settings: Mapping[str, SettingValue] = field(default_factory=dict)
    fingerprint: str
    environment: Mapping[str, SettingValue] = field(default_factory=dict)

    @property
    def settings_json(self) -> str:
        """The settings as canonical JSON: sorted keys, no blanks."""
        return json.dumps(dict(self.settings), sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """A stable identity of everything that makes this target (``environment`` is only described, not hashed:
        ``fingerprint`` is its hashed part)."""
        parts = (
            self.device,
            self.backend,
            self.runtime,
            self.runtime_version,
            self.precision,
            self.settings_json,
            self.fingerprint,
            f"reference {REFERENCE_VERSION}",
        )
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


class Backend(ABC):
    """One way to run workloads on one kind of device.

    Settings are given by keyword; one that the backend does not know is refused, and one not given takes its default.
    """

    name: ClassVar[str]
    settings_schema: ClassVar[Mapping[str, Setting]] = {}

    def __init__(self, **settings: object) -> None:
        self.settings: dict[str, SettingValue] = self.parse_settings(settings)

    @classmethod
    def parse_settings(cls, settings: Mapping[str, object]) -> dict[str, SettingValue]:
        """All settings, with the defaults of those that are not given. Needs neither the runtime nor the device.

        Raises:
            InvalidSettingError: one that the backend does not have, or does not take.
        """
        unknown = sorted(set(settings) - set(cls.settings_schema))
        if unknown:
            known = ", ".join(cls.settings_schema) or "none"
            raise InvalidSettingError(f"backend {cls.name!r} has no setting {unknown[0]!r}; its settings are: {known}")
        return {
            name: setting.parse(name, settings[name]) if name in settings else setting.default
            for name, setting in cls.settings_schema.items()
        }

    @classmethod
    @abstractmethod
    def availability(cls) -> Availability:
        """Whether the runtime is here. Imports it if need be, never raises for its absence."""

    @abstractmethod
    def target(self, device: str | None = None) -> Target:
        """The target that this backend, with its settings, measures on this machine.

        Args:
            device: the slug to file it under; the backend names the device itself where none is given.
        """

    @property
    @abstractmethod
    def clock(self) -> Clock:
        """The clock of the device: the same object each time."""

    @property
    def on_nvidia_gpu(self) -> bool:
        """Whether what it measures runs on the NVIDIA GPU that CUDA calls device 0."""
        return False

    def observers(self) -> tuple[Observer, ...]:
        """What looks at the device while it is measured, new each time; whoever takes them closes them."""
        from backends.observers.cpu import CpuObserver
        from backends.observers.nvml import NvmlObserver

        return (CpuObserver(), NvmlObserver()) if self.on_nvidia_gpu else (CpuObserver(),)

    @abstractmethod
    def compile(self, workload: Workload) -> Program:
        """Turn a workload into a program.

        Raises:
            CompileError: it cannot be exported or built.
        """


def check_outputs(actual: Sequence[Array], expected: Sequence[Array], *, rtol: float, atol: float) -> None:
    """Raise ``ValueError`` with the largest difference where two sets of outputs disagree."""
    if len(actual) != len(expected):
        raise ValueError(f"{len(actual)} outputs, expected {len(expected)}")
    for index, (got, want) in enumerate(zip(actual, expected, strict=True)):
        if got.shape != want.shape:
            raise ValueError(f"output {index} has shape {got.shape}, expected {want.shape}")
        if not np.allclose(got, want, rtol=rtol, atol=atol):
            worst = float(np.max(np.abs(got - want)))
            raise ValueError(f"output {index} differs by up to {worst:.3g}")
