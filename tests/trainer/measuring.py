"""What tests of measuring commands share: a simulated machine, and the program on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import measure as loop
from backends import registry
from latency_db import campaign as campaigns
from latency_db.keys import ImageSize
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend, World, named_cost
from tests.latency_db import program
from trainer.cli import main

FACTOR = 0.9
"""In the simulation a network of the space costs this part of its operators' sum."""


def network_cost(database: Path) -> Callable[[str], float]:
    """What things cost in the simulation: networks of the space what their operators do, all else by its name."""
    space = FasterSegSpace()

    def cost(name: str) -> float:
        if not name.startswith("network-"):
            return named_cost(name)
        with Store.open(str(database)) as store:
            (row,) = store.networks([int(name.removeprefix("network-"))]).values()
        image = ImageSize(row.image.height, row.image.width)
        specs = space.decompose(space.from_json(row.architecture), image).specs
        return FACTOR * sum(named_cost(spec.name) for spec in specs)

    return functools.cache(cost)


def simulate(monkeypatch: pytest.MonkeyPatch, world: World) -> World:
    """Whatever backend is asked for, it is a simulated one, and the loop's time is the simulation's."""
    monkeypatch.setattr(registry, "create", lambda name, **settings: FakeBackend(world, **settings))
    monkeypatch.setattr(campaigns, "measure", functools.partial(loop.measure, now=world.seconds))
    return world


invoke = functools.partial(program.invoke, program=main)
document = functools.partial(program.document, program=main)
