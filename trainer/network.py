"""The network that an architecture describes."""

from __future__ import annotations

from torch import Tensor, nn

from latency_db.keys import UPSAMPLE, ImageSize
from latency_db.operators import Leaves, PlainLeaves, build_operator
from latency_db.operators.topology import Classifier, resize
from trainer.architecture import Architecture
from trainer.plan import IMAGE, cell_name, plan

_ANY_SIZE = ImageSize(64, 64)
"""The operators of a network do not depend on the image's size (its last upsampling takes it from the input)."""


class Network(nn.Module):
    """An architecture as a module.

    Takes an (N, 3, H, W) image, H and W ≥ 64, multiples of 32 or not; returns logits of (N, classes, ⌈H/8⌉, ⌈W/8⌉), or
    (N, classes, H, W) where the architecture's output is ``full``.

    Args:
        architecture: what it is made of.
        leaves: of its operators; plain ones by default.
        auxiliary: with a classifier at the end of every branch's encoder, for training alone.

    Attributes:
        auxiliary_weights: of the auxiliary heads' losses, the main one counting 1. FasterSeg's paper has none; 0.4 is
            what PSPNet gives its auxiliary head (Zhao et al., 2017).
        auxiliary_heads: one per branch, in its order; there only with ``auxiliary``.
    """

    def __init__(self, architecture: Architecture, leaves: Leaves | None = None, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.architecture = architecture
        self.steps = plan(architecture, _ANY_SIZE)
        self.operators = nn.ModuleDict(
            {step.name: build_operator(step.spec, leaves) for step in self.steps if step.spec.op != UPSAMPLE}
        )
        self.auxiliary_weights = (0.4,) * len(architecture.branches)
        by_name = {step.name: index for index, step in enumerate(self.steps)}
        self._ends = tuple(by_name[cell_name(branch.cells[-1])] for branch in architecture.branches)
        if auxiliary:
            self.auxiliary_heads = nn.ModuleList(
                Classifier(leaves or PlainLeaves(), self.steps[end].spec.c_out, architecture.num_classes)
                for end in self._ends
            )

    def forward(self, image: Tensor) -> Tensor:
        """Run every step in order."""
        return self._run(image)[-1]

    def with_auxiliary(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and those of every auxiliary head: (N, classes, ⌈H/s⌉, ⌈W/s⌉) for a branch that ends at 1/s.

        Raises:
            RuntimeError: the network was built without auxiliary heads.
        """
        if not hasattr(self, "auxiliary_heads"):
            raise RuntimeError("the network was built without auxiliary heads: pass auxiliary=True")
        values = self._run(image)
        return values[-1], tuple(head(values[end]) for head, end in zip(self.auxiliary_heads, self._ends, strict=True))

    def _run(self, image: Tensor) -> list[Tensor]:
        values: list[Tensor] = []
        for step in self.steps:
            if step.spec.op == UPSAMPLE:
                values.append(resize(values[step.inputs[0]], int(image.shape[2]), int(image.shape[3])))
                continue
            inputs = [image if index == IMAGE else values[index] for index in step.inputs]
            values.append(self.operators[step.name](*inputs))
        return values
