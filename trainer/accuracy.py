"""How well a network segments a data set."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from trainer.data import Batch
from trainer.metrics import MeanIoU


@torch.no_grad()
def measure_accuracy(
    network: nn.Module,
    batches: Iterable[Batch],
    num_classes: int,
    device: torch.device | str = "cpu",
) -> MeanIoU:
    """IoU over all pixels of all images: single scale, no flips, logits brought to the label's resolution.

    Args:
        network: (N, 3, H, W) → (N, ``num_classes``, h, w); left in the mode in which it was.
        batches: of images as they are, without augmentation.
        num_classes: C.
        device: where the network is.

    Raises:
        DataError: an image or a label is not what it should be.
    """
    metric = MeanIoU(num_classes, device)
    was_training = network.training
    network.eval()
    try:
        for batch in batches:
            metric.update(network(batch.image.to(device)), batch.label.to(device))
    finally:
        network.train(was_training)
    return metric
