"""What a network costs without running it on data: parameters and multiply-adds at an image size."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from latency_db.errors import LatencyDbError


class CostError(LatencyDbError):
    """A network whose operations cannot be counted."""


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        parameters: numbers that are learned, those that several places share counted once.
        macs: multiply-adds of convolutions and matrix products, each counted once. Additions, norms, activations and
            resizing are left out, as is usual.
        output_shape: of the logits, (1, C, h, w).
    """

    parameters: int
    macs: int
    output_shape: tuple[int, ...]


def count_cost(module: nn.Module, image_size: tuple[int, int]) -> Cost:
    """Count a network as it would run in eval mode: what it leaves out then, as auxiliary heads, does not count.

    Runs a copy of it on the meta device, which has shapes but no values: the network itself stays as it is, and neither
    time nor memory grows with the image.

    Args:
        module: takes (1, 3, H, W) images.
        image_size: (H, W), in pixels.

    Raises:
        CostError: it does not run on the meta device at that size, or gives something else than one tensor.
    """
    height, width = image_size
    network = _without_values(module)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            output = network(torch.empty(1, 3, height, width, device="meta"))
    except RuntimeError as error:
        raise CostError(f"the network cannot be counted at {height}x{width}: {str(error).splitlines()[0]}") from None
    if not isinstance(output, Tensor):
        raise CostError(f"the network cannot be counted: it gives {type(output).__name__}, not one tensor")
    # A multiply-add counts once here; torch counts it as two operations.
    return Cost(parameters, counter.get_total_flops() // 2, tuple(output.shape))


def _without_values(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose tensors are on the meta device; the values are never copied."""
    known: dict[int, Tensor] = {}
    for parameter in module.parameters():
        known[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        known[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, known).eval()
