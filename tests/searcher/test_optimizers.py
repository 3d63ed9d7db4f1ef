"""The steps of the weights, where in every step some weights have no gradient."""

from __future__ import annotations

import torch
from torch import nn

from searcher.config import ScheduleConfig
from searcher.optimizers import weights_optimizer


def test_weights_that_get_their_first_gradient_late_step_like_the_others() -> None:
    torch.manual_seed(0)
    schedule = ScheduleConfig()
    mine = nn.ParameterList([torch.randn(4), torch.randn(3)])
    theirs = nn.ParameterList([parameter.detach().clone() for parameter in mine])
    ours = weights_optimizer(mine, schedule)
    plain = torch.optim.SGD(
        theirs.parameters(), lr=schedule.learning_rate, momentum=schedule.momentum, weight_decay=schedule.weight_decay
    )
    for number, drawn in enumerate([(0,), (0, 1), (1,), (0, 1)]):
        for parameters, optimizer in ((mine, ours), (theirs, plain)):
            optimizer.zero_grad(set_to_none=True)
            for index in drawn:
                parameters[index].grad = torch.full_like(parameters[index], 0.1 * (number + 1))
            optimizer.step()
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=0)
