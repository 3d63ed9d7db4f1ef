"""An elastic operator at some widths is the plain operator with the sliced weights."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from latency_db.keys import ImageSize, OpSpec
from searcher.elastic import ElasticLeaves
from searcher.elastic_operators import ElasticOperator, extract, fit
from trainer.architecture import CELL_OPERATORS

IMAGE = ImageSize(72, 104)
IN_WIDTHS = (16, 24, 40)
CHIS = (2, 3, 5)
S = 8


def elastic(op: str, stride: int = 1, **changes: Any) -> ElasticOperator:
    widths = [chi * S * stride for chi in CHIS]
    spec = OpSpec(op, S, max(IN_WIDTHS), max(widths), stride, IMAGE, 2)
    operator = ElasticOperator(spec, changes.get("widths", widths))
    randomize(operator)
    return operator


def randomize(module: nn.Module) -> None:
    """Parameters and statistics of norms that tell one width from another."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)


WEIGHTED = [(op, stride) for op in CELL_OPERATORS for stride in (1, 2) if (op, stride) != ("skip", 1)]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("op", "stride"), WEIGHTED)
def test_an_elastic_operator_is_the_plain_one_with_the_sliced_weights(op: str, stride: int, training: bool) -> None:
    torch.manual_seed(0)
    operator = elastic(op, stride).train(training)
    for c_in, chi in itertools.product(IN_WIDTHS, CHIS):
        c_out = chi * S * stride
        plain = extract(operator, c_in, c_out)
        x = torch.randn(2, c_in, 9, 13)
        expected = plain(x)
        got = operator(x, c_out=c_out)
        assert tuple(got.shape) == (2, c_out, 9 if stride == 1 else 5, 13 if stride == 1 else 7)
        assert torch.equal(got, expected), (c_in, c_out)
        # In training both have seen the batch: what they remember of it is the same, too.
        after = extract(operator, c_in, c_out).state_dict()
        for name, value in plain.state_dict().items():
            assert torch.equal(value, after[name]), name


@pytest.mark.parametrize(("op", "stride"), WEIGHTED)
def test_gradients_are_the_plain_ones_and_reach_no_channel_that_is_not_used(op: str, stride: int) -> None:
    torch.manual_seed(0)
    operator = elastic(op, stride).train()
    c_in, c_out = 24, 2 * S * stride
    plain = extract(operator, c_in, c_out)
    x = torch.randn(2, c_in, 9, 13)
    operator(x, c_out=c_out).square().sum().backward()
    plain(x).square().sum().backward()
    for name, leaf in plain.named_modules():
        if isinstance(leaf, nn.Conv2d):
            rows, columns = leaf.weight.shape[:2]
            gradient = operator.body.get_submodule(name).weight.grad
            torch.testing.assert_close(gradient[:rows, :columns], leaf.weight.grad)
            assert not gradient[rows:].any() and not gradient[:, columns:].any()


def test_widths_share_weights_and_not_statistics() -> None:
    operator = elastic("conv").train()
    before = copy.deepcopy(extract(operator, 16, 24).state_dict())
    operator(torch.randn(2, 16, 9, 13), c_out=40)
    after = extract(operator, 16, 24).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        next(operator.parameters()).mul_(2)
    assert not torch.equal(
        before["layers.0.conv.weight"], extract(operator, 16, 24).state_dict()["layers.0.conv.weight"]
    )


def test_a_call_does_not_depend_on_the_one_before() -> None:
    operator = elastic("zoomed_conv_x2")
    x = torch.randn(2, 24, 9, 13)
    first = operator(x, c_out=16)
    operator(torch.randn(2, 40, 9, 13), c_out=40)
    assert torch.equal(operator(x, c_out=16), first)


def test_a_copy_is_an_operator_of_its_own() -> None:
    operator = elastic("conv_x2")
    other = copy.deepcopy(operator)
    x = torch.randn(2, 24, 9, 13)
    assert torch.equal(other(x, c_out=16), operator(x, c_out=16))
    assert other(x, c_out=40).shape[1] == 40


def test_a_skip_at_stride_1_has_no_weights_and_fits_its_width() -> None:
    operator = elastic("skip")
    assert list(operator.parameters()) == []
    x = torch.randn(2, 24, 9, 13)
    assert operator(x, c_out=24) is x
    assert torch.equal(operator(x, c_out=16), x[:, :16])
    wider = operator(x, c_out=40)
    assert torch.equal(wider[:, :24], x) and not wider[:, 24:].any()
    assert extract(operator, 24, 24)(x) is x
    with pytest.raises(ValueError, match="keeps its width"):
        extract(operator, 24, 16)


def test_a_merge_is_elastic_in_what_comes_from_the_side() -> None:
    torch.manual_seed(0)
    operator = ElasticOperator(OpSpec("merge", 8, 16 + 40, 16, 1, IMAGE), (16,))
    randomize(operator)
    for side in IN_WIDTHS:
        coarse, fine = torch.randn(1, 16, 5, 7), torch.randn(1, side, 9, 13)
        assert torch.equal(operator(coarse, fine, c_out=16), extract(operator, 16 + side, 16)(coarse, fine))


def test_biases_are_sliced_too() -> None:
    leaves = ElasticLeaves((4, 8))
    conv = leaves.conv(6, 8, 1, bias=True)
    nn.init.normal_(conv.bias)
    leaves.width.channels = 4
    plain = nn.Conv2d(3, 4, 1)
    conv.copy_to(plain)
    x = torch.randn(1, 3, 5, 5)
    assert torch.equal(conv(x), plain(x))
    assert torch.equal(plain.bias, conv.bias[:4])


def test_what_cannot_be_elastic_is_refused() -> None:
    with pytest.raises(ValueError, match="groups"):
        elastic("conv_group2")
    with pytest.raises(ValueError, match="widest of its widths 24"):
        elastic("conv", widths=(16, 24))


def test_widths_that_an_operator_does_not_have_are_refused() -> None:
    operator = elastic("conv")
    with pytest.raises(ValueError, match=r"emits \[16, 24, 40\] channels, not 32"):
        operator(torch.randn(1, 16, 9, 13), c_out=32)
    for c_in, c_out in ((48, 16), (16, 32)):
        with pytest.raises(ValueError, match="takes up to 40"):
            extract(operator, c_in, c_out)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_fit_cuts_or_pads(channels: int) -> None:
    x = torch.randn(1, 3, 2, 2)
    fitted = fit(x, channels)
    assert fitted.shape[1] == channels
    assert torch.equal(fitted[:, :3], x[:, :channels])
    assert not fitted[:, 3:].any()
