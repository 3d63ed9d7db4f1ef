"""A network on images, and what it gives checked: any module may stand behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backends.compiling import compile_errors
from latency_db.errors import InputError


def run_network(module: nn.Module, image: Tensor, num_classes: int) -> Tensor:
    """Logits of (N, 3, H, W) normalised images: float32 (N, ``num_classes``, h, w), at the network's own resolution.

    Args:
        module: in eval mode, where the images are.
        image: normalised as :func:`trainer.data.dataset.normalise` does.
        num_classes: C.

    Raises:
        CompileError: the network fails on such images.
        InputError: it gives something else, or values that are no finite numbers.
    """
    with compile_errors("the network (--debug shows where)"), torch.inference_mode():
        logits = module(image)
    if not isinstance(logits, Tensor):
        raise InputError(f"the network gives {type(logits).__name__}, not one tensor of logits")
    if logits.ndim != 4 or logits.shape[:2] != (image.shape[0], num_classes):
        wanted = f"({image.shape[0]}, {num_classes}, h, w)"
        raise InputError(f"the network gives logits of shape {tuple(logits.shape)}, not {wanted}")
    # argmax would make the first class of it, silently.
    if not bool(logits.isfinite().all()):
        raise InputError("the network's logits are no finite numbers: its training has diverged")
    return logits.float()


class Checked(nn.Module):
    """A network whose logits are checked as :func:`run_network` does, for what takes any module.

    Args:
        module: the network.
        num_classes: channels that its logits must have.
    """

    def __init__(self, module: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.module, self.num_classes = module, num_classes
        # Who puts it back into the mode in which it was means the network's.
        self.train(module.training)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) images to (N, C, h, w) logits; raises InputError."""
        return run_network(self.module, image, self.num_classes)
