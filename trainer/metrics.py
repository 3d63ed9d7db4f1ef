"""Accuracy of segmentation over a whole data set."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from trainer.data.sample import IGNORE
from trainer.losses import upsampled


class MeanIoU:
    """Mean intersection over union of a data set: pixels of all images are counted before any ratio is taken.

    Args:
        num_classes: C.
        device: where predictions are.
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu", ignore_index: int = IGNORE) -> None:
        # Not above: it brings matplotlib along where that is installed.
        from torchmetrics.classification import MulticlassConfusionMatrix

        self._confusion = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_index, validate_args=False)
        self._confusion.to(device)

    @torch.no_grad()
    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count (N, C, h, w) logits, brought to the resolution of the (N, H, W) labels."""
        self._confusion.update(upsampled(logits.float(), label).argmax(1), label)

    def per_class(self) -> list[float | None]:
        """IoU of every class; None for a class that is neither in a label nor predicted."""
        # torchmetrics adds up over the processes of a group here, if there is one.
        confusion = self._confusion.compute().double()
        hit = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - hit
        return [h / u if u else None for h, u in zip(hit.tolist(), union.tolist(), strict=True)]

    def value(self) -> float:
        """The mean over the classes that are in a label or predicted; 0 where there is none."""
        return mean_iou(self.per_class())


def mean_iou(per_class: Iterable[float | None]) -> float:
    """The mean over the classes whose IoU is known; 0 where there is none."""
    known = [iou for iou in per_class if iou is not None]
    return sum(known) / len(known) if known else 0.0
