"""What takes the steps of the weights and of the architecture (Appendix H of FasterSeg)."""

from __future__ import annotations

import torch
from torch import nn

from searcher.config import ScheduleConfig


def weights_optimizer(weights: nn.Module, schedule: ScheduleConfig) -> torch.optim.SGD:
    """SGD with momentum and weight decay, in one kernel per step: weights and momentum are read and written once.

    A weight without a gradient, of a width that was not drawn, keeps its value and its momentum.
    """
    optimizer = torch.optim.SGD(
        weights.parameters(),
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    if schedule.momentum:
        # The kernel takes weights that have stepped before or weights that have not, never both. From zero, the first
        # step is what it would be without.
        for parameter in weights.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def architecture_optimizer(parameters: nn.Module, schedule: ScheduleConfig) -> torch.optim.Adam:
    """Adam, without weight decay: nothing pulls a choice towards indecision."""
    return torch.optim.Adam(parameters.parameters(), lr=schedule.architecture_learning_rate)
