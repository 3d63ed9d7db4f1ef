"""What a training makes small: segmentation, auxiliary heads, distillation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.data import Batch
from trainer.losses import OhemCrossEntropy
from trainer.training.config import LossConfig
from trainer.training.distill import distillation_loss
from trainer.zoo.protocol import AuxiliaryNetwork


@dataclass(frozen=True)
class Terms:
    """The parts of a loss, each a scalar tensor.

    Attributes:
        total: what is made small.
        segmentation: of the network's own logits.
        auxiliary: weighted sum over the auxiliary heads; None where there are none.
        distillation: Eq. 4, unweighted; None without a teacher.
    """

    total: Tensor
    segmentation: Tensor
    auxiliary: Tensor | None
    distillation: Tensor | None


class Objective:
    """The loss of a batch.

    ℓ = ℓ_seg + a · Σ_k w_k · ℓ_seg(auxiliary k) + d · E_i KL(q_i^s ‖ q_i^t), a and d from the settings, w_k the
    network's own weights.

    Args:
        network: in training mode; with auxiliary heads, where the settings give them a weight.
        loss: settings.
        teacher: in eval mode, of the same classes; None: no distillation.
        precision: of the forward passes.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: LossConfig,
        teacher: nn.Module | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.auxiliary: AuxiliaryNetwork | None = None
        if loss.auxiliary:
            assert isinstance(network, AuxiliaryNetwork)
            self.auxiliary = network
        self.loss = loss
        self.teacher = teacher
        self.precision = precision
        self.criterion = OhemCrossEntropy(loss.hard_threshold, loss.hard_share)

    def __call__(self, batch: Batch) -> Terms:
        """The parts of the loss of images (N, 3, H, W) and labels (N, H, W)."""
        with autocast(self.precision, batch.image.device):
            if self.auxiliary is not None:
                logits, others = self.auxiliary.with_auxiliary(batch.image)
            else:
                logits, others = self.network(batch.image), ()
        segmentation = self.criterion(logits, batch.label)
        total = segmentation
        auxiliary: Tensor | None = None
        if self.auxiliary is not None:
            auxiliary = torch.stack(
                [
                    weight * self.criterion(one, batch.label)
                    for weight, one in zip(self.auxiliary.auxiliary_weights, others, strict=True)
                ]
            ).sum()
            total = total + self.loss.auxiliary * auxiliary
        distillation: Tensor | None = None
        if self.teacher is not None:
            with torch.no_grad(), autocast(self.precision, batch.image.device):
                taught = self.teacher(batch.image)
            distillation = distillation_loss(logits, taught, batch.label)
            total = total + self.loss.distillation * distillation
        return Terms(total, segmentation, auxiliary, distillation)


def autocast(precision: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """What a forward pass runs in."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)
