"""A simulated machine, for what measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import World
from tests.trainer.measuring import network_cost, simulate


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, database: Path) -> World:
    return simulate(monkeypatch, World(network_cost(database), noise=0.002))
