"""Operators and networks of a space as workloads that a backend can run."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from backends.protocol import Workload
from latency_db.keys import ImageSize, OpSpec
from latency_db.space import Architecture, Space

if TYPE_CHECKING:
    from torch import nn


def seeded(build: Callable[[], nn.Module], name: str) -> Callable[[], nn.Module]:
    """``build`` with weights that depend on the name alone, and no trace left in torch's global generator."""

    def drawn() -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(name.encode()))
            return build()

    return drawn


def operator_workload(space: Space, spec: OpSpec) -> Workload:
    """One operator of the space."""
    return Workload(
        name=spec.name, build=seeded(lambda: space.build_operator(spec), spec.name), input_shapes=spec.input_shapes
    )


def network_workload(space: Space, architecture: Architecture, name: str, image: ImageSize, batch: int = 1) -> Workload:
    """A whole network of the space."""
    return Workload(
        name=name,
        build=seeded(lambda: space.build(architecture), name),
        input_shapes=((batch, 3, image.height, image.width),),
    )
