"""What networks are trained on: cross-entropy over the hardest pixels (Appendix F of FasterSeg)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.data.sample import IGNORE


def ohem_cross_entropy(
    logits: Tensor, label: Tensor, *, threshold: float, min_kept: float, ignore_index: int = IGNORE
) -> Tensor:
    """Cross-entropy with online hard example mining: the mean over the pixels that are not yet known well.

    A pixel counts where the probability of its class is below ``threshold``. Where those are less than ``min_kept`` of
    the valid pixels, the hardest ``min_kept`` of them count. (Shrivastava et al., 2016, for pixels.)

    Args:
        logits: (N, C, H, W).
        label: (N, H, W) int64.
        threshold: in (0, 1].
        min_kept: share of the valid pixels, in (0, 1].
        ignore_index: the label of pixels that never count.

    Returns:
        A scalar; 0, still connected to the logits, where no pixel is valid.
    """
    # Not in half precision, also under autocast: there a probability close to 1 has no loss.
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    losses = F.cross_entropy(logits, label, ignore_index=ignore_index, reduction="none")
    losses = losses[label != ignore_index]
    if losses.numel() == 0:
        return logits.sum() * 0.0
    kept = max(math.ceil(min_kept * losses.numel()), 1)
    with torch.no_grad():
        # p < threshold is loss > −log(threshold); the kept-th largest loss lowers the bar where few are above it.
        hardest = losses.kthvalue(losses.numel() - kept + 1).values
        bar = torch.minimum(hardest, losses.new_tensor(-math.log(threshold)))
    return losses[losses >= bar].mean()


class OhemCrossEntropy(nn.Module):
    """:func:`ohem_cross_entropy` of logits of any resolution: they are brought to the label's first, bilinearly.

    Args:
        threshold: pixels whose class is given at least this probability are not hard.
        min_kept: share of the valid pixels that count at least.
        ignore_index: the label of pixels that never count.

    Raises:
        ValueError: a share that is not in (0, 1].
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, ignore_index: int = IGNORE) -> None:
        super().__init__()
        for name, value in (("threshold", threshold), ("min_kept", min_kept)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}, not in (0, 1]")
        self.threshold, self.min_kept, self.ignore_index = threshold, min_kept, ignore_index

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """(N, C, h, w) logits and (N, H, W) labels to a scalar."""
        return ohem_cross_entropy(
            upsampled(logits, label),
            label,
            threshold=self.threshold,
            min_kept=self.min_kept,
            ignore_index=self.ignore_index,
        )


def upsampled(logits: Tensor, label: Tensor) -> Tensor:
    """(N, C, h, w) → (N, C, H, W), the label's resolution, bilinearly."""
    size = label.shape[-2:]
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
