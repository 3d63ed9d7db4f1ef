"""Distillation is Eq. 4, in its direction and scale."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import log_softmax

from trainer.data.sample import IGNORE
from trainer.training.distill import distillation_loss


def by_hand(student: torch.Tensor, teacher: torch.Tensor, label: torch.Tensor) -> float:
    """Σ over valid pixels of Σ_c q_s (log q_s − log q_t), divided by their number, in float64 and without torch."""
    s, t = (log_softmax(logits.double().numpy(), axis=1) for logits in (student, teacher))
    per_pixel = (np.exp(s) * (s - t)).sum(1)
    return float(per_pixel[label.numpy() != IGNORE].mean())


def logits(seed: int, *shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_equation_4() -> None:
    student, teacher = logits(0, 2, 5, 6, 7), 0.3 * logits(1, 2, 5, 6, 7)
    label = torch.randint(0, 5, (2, 6, 7), generator=torch.Generator().manual_seed(2))
    label[0, :3] = IGNORE
    found = float(distillation_loss(student, teacher, label))
    assert abs(found - by_hand(student, teacher, label)) < 1e-5
    # The other direction is another number: were it taken, the line above would show it.
    assert abs(found - by_hand(teacher, student, label)) > 0.1


def test_its_scale_does_not_depend_on_the_number_of_pixels() -> None:
    student, teacher = logits(0, 1, 4, 2, 2), logits(1, 1, 4, 2, 2)
    small = distillation_loss(student, teacher, torch.zeros(1, 2, 2, dtype=torch.int64))
    tiled = [value.repeat(3, 1, 4, 5) for value in (student, teacher)]
    assert torch.isclose(distillation_loss(*tiled, torch.zeros(3, 8, 10, dtype=torch.int64)), small)


def test_the_same_logits_cost_nothing_and_only_the_student_learns() -> None:
    student = logits(0, 1, 4, 4, 4).requires_grad_()
    teacher = logits(1, 1, 4, 4, 4).requires_grad_()
    label = torch.zeros(1, 8, 8, dtype=torch.int64)
    assert float(distillation_loss(student, student.detach(), label).detach()) < 1e-7
    distillation_loss(student, teacher, label).backward()
    assert student.grad is not None and float(student.grad.abs().sum()) > 0
    assert teacher.grad is None


def test_its_gradient_is_that_of_equation_4() -> None:
    student = logits(0, 1, 3, 2, 2).double().requires_grad_()
    teacher = logits(1, 1, 3, 2, 2).double()
    label = torch.tensor([[[0, IGNORE], [1, 2]]])
    assert torch.autograd.gradcheck(lambda value: distillation_loss(value, teacher, label), student)


def test_no_valid_pixel_is_no_loss() -> None:
    student = logits(0, 1, 3, 2, 2).requires_grad_()
    loss = distillation_loss(student, logits(1, 1, 3, 2, 2), torch.full((1, 2, 2), IGNORE))
    loss.backward()
    assert float(loss) == 0
    assert student.grad is not None and not student.grad.any()


def test_half_precision_is_computed_in_single() -> None:
    student, teacher = logits(0, 1, 5, 4, 4), logits(1, 1, 5, 4, 4)
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    halves = [value.bfloat16() for value in (student, teacher)]
    found = float(distillation_loss(*halves, label))
    assert abs(found - by_hand(*(value.float() for value in halves), label)) < 1e-5
