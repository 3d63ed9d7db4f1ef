"""The network that an architecture describes."""

from __future__ import annotations

from torch import Tensor, nn

from latency_db.keys import UPSAMPLE, ImageSize
from latency_db.operators import Leaves, build_operator
from latency_db.operators.topology import resize
from trainer.architecture import Architecture
from trainer.plan import IMAGE, plan

_ANY_SIZE = ImageSize(64, 64)
"""The operators of a network do not depend on the image's size (its last upsampling takes it from the input)."""


class Network(nn.Module):
    """An architecture as a module.

    Takes an (N, 3, H, W) image, H and W ≥ 64, multiples of 32 or not; returns logits of (N, classes, ⌈H/8⌉, ⌈W/8⌉), or
    (N, classes, H, W) where the architecture's output is ``full``.
    """

    def __init__(self, architecture: Architecture, leaves: Leaves | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.steps = plan(architecture, _ANY_SIZE)
        self.operators = nn.ModuleDict(
            {step.name: build_operator(step.spec, leaves) for step in self.steps if step.spec.op != UPSAMPLE}
        )

    def forward(self, image: Tensor) -> Tensor:
        """Run every step in order."""
        values: list[Tensor] = []
        for step in self.steps:
            if step.spec.op == UPSAMPLE:
                values.append(resize(values[step.inputs[0]], int(image.shape[2]), int(image.shape[3])))
                continue
            inputs = [image if index == IMAGE else values[index] for index in step.inputs]
            values.append(self.operators[step.name](*inputs))
        return values[-1]
