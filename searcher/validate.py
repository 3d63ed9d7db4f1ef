"""How well the supernet segments as one of its networks, on images that neither step sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from searcher.cosearch import CoSearch
from searcher.draw import Draw
from searcher.result import Branches
from trainer.data import Batch
from trainer.metrics import MeanIoU


@torch.no_grad()
def validate(
    search: CoSearch,
    draw: Draw,
    images: Iterable[Batch],
    *,
    calibration: Iterable[Batch],
    branch_sets: Iterable[Branches] | None = None,
) -> dict[Branches, float]:
    """mIoU of the supernet for one draw, by branch set.

    What the norms of a width remember comes from whatever was drawn with it. So they first see some batches as this
    draw has them, and afterwards remember what they did before.

    Args:
        search: the supernet.
        draw: operators, predecessors, widths.
        images: what is judged on.
        calibration: images of the half for the weights, for the norms.
        branch_sets: which sets of branches; all by default.

    Returns:
        Per branch set mIoU in [0, 1].
    """
    supernet = search.supernet
    sets = supernet.branch_sets if branch_sets is None else tuple(branch_sets)
    device = draw.alpha.device
    metrics: Mapping[Branches, MeanIoU] = {branches: MeanIoU(supernet.space.num_classes, device) for branches in sets}
    was_training = supernet.training
    try:
        with search.autocast(), supernet.recalibrated((batch.image.to(device) for batch in calibration), draw, sets):
            supernet.eval()
            for batch in images:
                label = batch.label.to(device)
                outputs = supernet(batch.image.to(device), draw, sets)
                for branches, logits in zip(sets, outputs, strict=True):
                    metrics[branches].update(logits, label)
    finally:
        supernet.train(was_training)
    return {branches: metric.value() for branches, metric in metrics.items()}
