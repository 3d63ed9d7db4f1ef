"""A backend with a simulated clock: what is timed takes as long as the test says, and no real time passes."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Mapping
from typing import ClassVar

from backends.building import Buildable, Built
from backends.errors import CompileError
from backends.observers import Observation, Observer
from backends.protocol import Array, Availability, Backend, Program, Runner, Setting, Target, Workload

REFERENCE = "reference"


def steady(seconds: float) -> float:
    """No drift at all."""
    return 1.0


def named_cost(name: str) -> float:
    """Between 0.5 and 2.5 ms, the same for the same name."""
    return 0.5 + zlib.crc32(name.encode()) % 2000 / 1000


class World:
    """The simulated machine.

    Attributes:
        cost_ms: what one run of a workload takes on the undisturbed machine.
        reference_ms: what one run of the reference workload takes there.
        drift: by simulated second, what everything that runs is multiplied by, the reference included.
        noise: standard deviation of the logarithm of each run's own noise.
        layout: the same, of noise that one loading keeps: where its memory happens to lie.
        broken: reasons, by workload, why its compilation fails; ``unloadable``: why its loading does.
        before_run: called with the workload's name before each of its runs; may raise.
    """

    def __init__(
        self,
        cost_ms: Callable[[str], float] = named_cost,
        *,
        reference_ms: float = 1.0,
        drift: Callable[[float], float] = steady,
        noise: float = 0.0,
        layout: float = 0.0,
        broken: Mapping[str, str] | None = None,
        unloadable: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        self.cost_ms, self.reference_ms, self.drift = cost_ms, reference_ms, drift
        self.noise, self.layout = noise, layout
        self.broken, self.unloadable = dict(broken or {}), dict(unloadable or {})
        self.before_run: Callable[[str], None] = lambda name: None
        self.random = random.Random(seed)
        self.elapsed_ms = 0.0
        self.compiled: list[str] = []
        self.open_programs: list[str] = []
        self.open_runners: list[str] = []
        self.most_open = 0
        self.runs = 0

    def seconds(self) -> float:
        """The simulated monotonic clock, for ``measure(now=…)``."""
        return self.elapsed_ms / 1e3

    def advance(self, ms: float) -> None:
        """Let time pass."""
        self.elapsed_ms += ms

    def undisturbed(self, name: str) -> float:
        """What one run of this workload takes when nothing disturbs it."""
        return self.reference_ms if name == REFERENCE else self.cost_ms(name)

    def factor(self, sigma: float) -> float:
        """A random factor around 1."""
        return math.exp(self.random.gauss(0, sigma)) if sigma else 1.0


class FakeClock:
    """Reads the simulated time."""

    name = "simulated"

    def __init__(self, world: World) -> None:
        self.world, self.started = world, 0.0

    def start(self) -> None:
        self.started = self.world.elapsed_ms

    def stop(self) -> float:
        return self.world.elapsed_ms - self.started


def nothing(visit: int) -> Observation:
    """An observer that sees nothing."""
    return Observation()


class FakeObserver:
    """Says of each visit what a test wants it to say.

    Attributes:
        says: by the number of the visit, from 0.
        calls: what was asked of it, in order.
    """

    name = "fake"

    def __init__(self, says: Callable[[int], Observation] = nothing, calls: list[str] | None = None) -> None:
        self.says, self.calls = says, [] if calls is None else calls
        self.visits = 0

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self) -> Observation:
        self.calls.append("end")
        self.visits += 1
        return self.says(self.visits - 1)

    def sources(self) -> Mapping[str, str | None]:
        return {"everything": None}

    def close(self) -> None:
        self.calls.append("close")


class FakeRunner(Runner):
    """Makes simulated time pass."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.closed = False
        self.base_ms = world.undisturbed(name) * world.factor(world.layout)
        world.open_runners.append(name)
        world.most_open = max(world.most_open, len(world.open_runners))

    def run(self) -> None:
        assert not self.closed, f"{self.name} runs after it was closed"
        self.world.before_run(self.name)
        self.world.runs += 1
        world = self.world
        world.advance(self.base_ms * world.drift(world.seconds()) * world.factor(world.noise))

    def outputs(self) -> tuple[Array, ...]:
        return ()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.world.open_runners.remove(self.name)


class FakeProgram(Program):
    """What a workload is compiled to: its name."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        world.open_programs.append(name)

    def load(self) -> Runner:
        if self.name in self.world.unloadable:
            raise CompileError(f"{self.name}: {self.world.unloadable[self.name]}")
        return FakeRunner(self.world, self.name)

    def close(self) -> None:
        self.world.open_programs.remove(self.name)


class FakeBackend(Backend):
    """Runs workloads in a :class:`World`; never builds a module."""

    name: ClassVar[str] = "fake"
    settings_schema: ClassVar[Mapping[str, Setting]] = {"threads": Setting(default=1, help="Threads.", minimum=1)}

    def __init__(self, world: World | None = None, **settings: object) -> None:
        super().__init__(**settings)
        self.world = world if world is not None else World()
        self._clock = FakeClock(self.world)
        self.watching: tuple[Observer, ...] = ()

    @classmethod
    def availability(cls) -> Availability:
        return Availability(available=True, runtime="simulation", runtime_version="1")

    def target(self, device: str | None = None) -> Target:
        return Target(
            device=device or "simulated",
            device_name="A simulated machine",
            backend=self.name,
            runtime="simulation",
            runtime_version="1",
            precision="fp32",
            settings=self.settings,
            fingerprint="0" * 16,
        )

    @property
    def clock(self) -> FakeClock:
        return self._clock

    def observers(self) -> tuple[Observer, ...]:
        """Nobody, unless a test puts one there: what the real machine does is not of the simulated one."""
        return self.watching

    def compile(self, workload: Workload) -> Program:
        self.world.compiled.append(workload.name)
        if workload.name in self.world.broken:
            raise CompileError(f"{workload.name}: {self.world.broken[workload.name]}")
        return FakeProgram(self.world, workload.name)


class FakeBuilder(FakeBackend, Buildable):
    """Builds for a device that is not there, and keeps what it built as long as its world lasts."""

    @classmethod
    def build_availability(cls) -> Availability:
        return Availability(available=True, runtime="simulation", runtime_version="1")

    def build_target(self) -> Target:
        return Target(
            device="sm0",
            device_name="A device that is not there",
            backend=self.name,
            runtime="simulation",
            runtime_version="1",
            precision="fp32",
            settings=self.settings,
            fingerprint="b" * 16,
        )

    def build(self, workload: Workload) -> Built:
        self.world.before_run(workload.name)
        if workload.name in self.world.broken:
            raise CompileError(f"{workload.name}: {self.world.broken[workload.name]}")
        kept = workload.name in self.world.compiled
        self.world.compiled.append(workload.name)
        return Built(size_bytes=100, kept=kept)
