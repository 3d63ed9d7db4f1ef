"""Mean intersection over union of a data set against counting by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from trainer.metrics import MeanIoU


def test_pixels_of_all_images_are_counted_before_a_ratio_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (3, 2, 6, 8), generator=generator)
    label[0, 0, :3] = 255
    guess = torch.randint(0, 3, (3, 2, 6, 8), generator=generator)
    metric = MeanIoU(4)
    for one_guess, one_label in zip(guess, label, strict=True):
        metric.update(F.one_hot(one_guess, 4).permute(0, 3, 1, 2).float(), one_label)
    valid = label != 255
    expected = []
    for c in range(3):
        hit = ((guess == c) & (label == c) & valid).sum().item()
        union = (((guess == c) | (label == c)) & valid).sum().item()
        expected.append(hit / union)
    assert metric.per_class() == [*map(pytest.approx, expected), None]
    assert metric.value() == pytest.approx(sum(expected) / 3)


def test_nothing_counted_is_zero() -> None:
    metric = MeanIoU(3)
    metric.update(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 255))
    assert metric.value() == 0
