"""The loss over the hardest pixels against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.losses import OhemCrossEntropy, ohem_cross_entropy


def by_definition(logits: Tensor, label: Tensor, threshold: float, min_kept: float) -> float:
    losses, hard = [], []
    probabilities = logits.double().softmax(1)
    for n, y, x in (label != 255).nonzero().tolist():
        p = float(probabilities[n, label[n, y, x], y, x])
        losses.append(-math.log(p))
        if p < threshold:
            hard.append(-math.log(p))
    least = math.ceil(min_kept * len(losses))
    kept = hard if len(hard) >= least else sorted(losses)[-least:]
    return sum(kept) / len(kept)


def example(seed: int, spread: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 5, (2, 9, 11), generator=generator)
    label[torch.rand(2, 9, 11, generator=generator) < 0.2] = 255
    logits = torch.randn(2, 5, 9, 11, generator=generator)
    # The right class is favoured, so that some pixels are well known.
    logits += spread * F.one_hot(label.clamp(max=4), 5).permute(0, 3, 1, 2)
    return logits, label


@pytest.mark.parametrize("spread", [0.0, 2.0, 8.0])
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 1 / 16), (0.3, 0.5), (1.0, 1.0)])
def test_the_loss_is_the_mean_over_the_hard_pixels(spread: float, threshold: float, min_kept: float) -> None:
    logits, label = example(3, spread)
    value = ohem_cross_entropy(logits.double(), label, threshold=threshold, min_kept=min_kept)
    assert float(value) == pytest.approx(by_definition(logits, label, threshold, min_kept), rel=1e-5)


def test_with_everything_kept_it_is_plain_cross_entropy() -> None:
    logits, label = example(4, 1.0)
    expected = F.cross_entropy(logits, label, ignore_index=255)
    assert OhemCrossEntropy(1.0, 1.0)(logits, label).item() == pytest.approx(expected.item(), rel=1e-6)


def test_only_the_pixels_that_count_get_a_gradient() -> None:
    logits, label = example(5, 8.0)
    logits.requires_grad_()
    OhemCrossEntropy(0.7, 1 / 16)(logits, label).backward()
    touched = logits.grad.abs().sum(1) > 0
    assert not touched[label == 255].any()
    assert 0 < touched.sum() < 0.3 * touched.numel()


def test_logits_of_an_eighth_are_brought_to_the_label() -> None:
    logits, label = torch.randn(1, 5, 4, 6), torch.randint(0, 5, (1, 32, 48))
    expected = F.interpolate(logits, size=(32, 48), mode="bilinear", align_corners=False)
    loss = OhemCrossEntropy()
    assert torch.equal(loss(logits, label), loss(expected, label))


def test_without_a_valid_pixel_it_is_zero_and_still_differentiable() -> None:
    logits = torch.randn(1, 5, 4, 6, requires_grad=True)
    loss = OhemCrossEntropy()(logits, torch.full((1, 4, 6), 255))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("values", [(0.0, 0.5), (1.5, 0.5), (0.5, 0.0), (0.5, 2.0)])
def test_shares_are_shares(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not in"):
        OhemCrossEntropy(*values)
