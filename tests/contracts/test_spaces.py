"""Every registered space keeps the contract."""

from __future__ import annotations

import pytest

from latency_db import spaces
from latency_db.space import Space
from latency_db.testing import SpaceContract


class TestRegistered(SpaceContract):
    @pytest.fixture(params=spaces.names())
    def space(self, request: pytest.FixtureRequest) -> Space:
        return spaces.create(request.param)
