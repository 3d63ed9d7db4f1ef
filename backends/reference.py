"""The reference workload: what every sample is divided by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.protocol import Workload

if TYPE_CHECKING:
    from torch import nn

CHANNELS, HEIGHT, WIDTH, LAYERS = 64, 32, 64, 2
# What this file builds is version protocol.REFERENCE_VERSION: change one, change the other.


def _build() -> nn.Module:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for _ in range(LAYERS):
            layers += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers).eval()


def reference_workload() -> Workload:
    """Two 3×3 convolutions of 64 channels on a 32×64 map (151 million multiply-adds) with ReLU.

    Convolutions are what networks spend their time in, so what slows these down slows the reference down alike; and it
    is short enough (about 2 ms on one core) to see the machine's state change.
    """
    return Workload(name="reference", build=_build, input_shapes=((1, CHANNELS, HEIGHT, WIDTH),))
