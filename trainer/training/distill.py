"""Learning from a teacher (section 3.3 of FasterSeg)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.sample import IGNORE
from trainer.losses import upsampled


def distillation_loss(student: Tensor, teacher: Tensor, label: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """E over the valid pixels of KL(q^s ‖ q^t), q the softmax over the classes (Eq. 4).

    KL(q^s ‖ q^t) = Σ_c q^s_c · (log q^s_c − log q^t_c), in nats, in this order: the student's own distribution weighs.

    Args:
        student: (N, C, h, w) logits; brought to the label's resolution, bilinearly.
        teacher: (N, C, h', w') logits; no gradient goes into them.
        label: (N, H, W); pixels of ``ignore_index`` do not count.
        ignore_index: the label of pixels without a class.

    Returns:
        A scalar ≥ 0; 0, still connected to the student, where no pixel is valid.
    """
    student = upsampled(_single(student), label)
    valid = label != ignore_index
    if not bool(valid.any()):
        return student.sum() * 0.0
    with torch.no_grad():
        log_teacher = upsampled(_single(teacher), label).log_softmax(1)
    log_student = student.log_softmax(1)
    # kl_div(input, target) is KL(target ‖ input): the teacher is what torch calls the input.
    divergence = F.kl_div(log_teacher, log_student, reduction="none", log_target=True).sum(1)
    return divergence[valid].mean()


def _single(logits: Tensor) -> Tensor:
    """Not in half precision, also under autocast: differences of logarithms would be lost."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
