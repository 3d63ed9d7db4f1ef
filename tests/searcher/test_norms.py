"""What the supernet's norms remember: nothing of the architecture's step, and one draw's own before a validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from searcher.draw import Draw, fixed_widths
from searcher.space import FasterSegSpace
from searcher.supernet import Supernet

SMALL: dict[str, Any] = {"layers": 4, "chis": (2, 3), "head_chi": 2, "stem_widths": (4, 8, 16), "num_classes": 5}


def supernet_of(**options: bool) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(FasterSegSpace(**SMALL), **options)
    # As after some steps: what is remembered tells one norm from another.
    for norm in norms_of(supernet).values():
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        norm.num_batches_tracked.fill_(7)
    return supernet


def norms_of(supernet: Supernet) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in supernet.named_modules() if isinstance(module, nn.BatchNorm2d)}


def draw_of(supernet: Supernet, rule: Any = "widest") -> Draw:
    lattice = supernet.lattice
    shape = lattice.layers, len(lattice.scales)
    alpha = torch.full((*shape, len(lattice.ops)), 1 / len(lattice.ops))
    return Draw(alpha.requires_grad_(), torch.full((*shape, 2), 0.5), fixed_widths(lattice, rule))


def remembered(supernet: Supernet) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in supernet.named_buffers()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def batches(count: int = 3) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        yield torch.randn(2, 3, 64, 96, generator=generator)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_with_kept_statistics_is_the_same_and_leaves_no_trace(checkpointing: bool) -> None:
    supernet = supernet_of(checkpointing=checkpointing)
    draw, (image,) = draw_of(supernet), batches(1)
    before = remembered(supernet)
    with supernet.statistics_kept():
        kept = supernet(image, draw)
        sum(logits.square().mean() for logits in kept).backward()
        # Not even of a batch that overflows.
        supernet(torch.full_like(image, 1e38), draw)
    assert same(before, remembered(supernet))
    for one, two in zip(kept, supernet(image, draw), strict=True):
        assert torch.equal(one, two), "batch statistics, as ever"
    assert not same(before, remembered(supernet)), "outside, a pass is remembered"


def test_in_eval_mode_kept_statistics_are_used() -> None:
    supernet = supernet_of().eval()
    draw, (image,) = draw_of(supernet), batches(1)
    with torch.no_grad():
        expected = supernet(image, draw)
        with supernet.statistics_kept():
            for one, two in zip(expected, supernet(image, draw), strict=True):
                assert torch.equal(one, two)


def test_statistics_are_kept_over_an_error() -> None:
    supernet = supernet_of()
    before = remembered(supernet)
    with pytest.raises(RuntimeError, match="stop"), supernet.statistics_kept():
        supernet(next(batches()), draw_of(supernet))
        raise RuntimeError("stop")
    assert same(before, remembered(supernet))


@pytest.mark.parametrize("training", [True, False])
def test_recalibrated_norms_remember_the_mean_over_the_batches(training: bool) -> None:
    supernet = supernet_of().train(training)
    draw = draw_of(supernet, "narrowest")
    before = remembered(supernet)
    expected: dict[str, list[Tensor]] = {}
    seen = [
        norm.register_forward_hook(
            lambda _, inputs, __, name=name: expected.setdefault(name, []).append(inputs[0].detach())
        )
        for name, norm in norms_of(supernet).items()
    ]
    with supernet.recalibrated(batches(), draw):
        for hook in seen:
            hook.remove()
        assert supernet.training == training
        assert 0 < len(expected) < len(norms_of(supernet)), "one width of each operator"
        for name, norm in norms_of(supernet).items():
            assert norm.momentum == 0.1
            if name not in expected:
                assert torch.equal(norm.running_mean, before[f"{name}.running_mean"])
                assert torch.equal(norm.running_var, before[f"{name}.running_var"])
                assert norm.num_batches_tracked == 7
                continue
            means = [x.mean((0, 2, 3)) for x in expected[name]]
            variances = [x.var((0, 2, 3)) for x in expected[name]]
            torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0), rtol=1e-4, atol=1e-5)
    assert same(before, remembered(supernet))


def test_recalibrating_restores_after_an_error() -> None:
    supernet = supernet_of().eval()
    draw, before = draw_of(supernet), remembered(supernet)

    def broken() -> Iterator[Tensor]:
        yield from batches(1)
        raise RuntimeError("no such image")

    with pytest.raises(RuntimeError, match="no such image"), supernet.recalibrated(broken(), draw):
        pytest.fail("never entered")
    assert same(before, remembered(supernet))
    assert not supernet.training
    assert {norm.momentum for norm in norms_of(supernet).values()} == {0.1}


def test_recalibrating_with_nothing_changes_nothing() -> None:
    supernet = supernet_of()
    before = remembered(supernet)
    with supernet.recalibrated([], draw_of(supernet)):
        assert same(before, remembered(supernet))


def test_recalibrating_makes_an_evaluation_that_of_the_batch() -> None:
    """With a single batch the statistics are its own, but for the variance's n / (n - 1)."""
    supernet = supernet_of().eval()
    draw, image = draw_of(supernet), torch.randn(4, 3, 192, 256)
    sets = supernet.branch_sets[:1]
    with torch.no_grad():
        (before,) = supernet(image, draw, sets)
        with supernet.recalibrated([image], draw, sets):
            (recalibrated,) = supernet(image, draw, sets)
        with supernet.train().statistics_kept():
            (by_batch,) = supernet(image, draw, sets)
    assert (recalibrated - by_batch).norm() < 0.05 * by_batch.norm()
    assert (before - by_batch).norm() > 0.5 * by_batch.norm()


def test_a_backward_pass_may_run_after_the_statistics_were_restored() -> None:
    for checkpointing in (False, True):
        supernet = supernet_of(checkpointing=checkpointing)
        draw, (image,) = draw_of(supernet), batches(1)
        outside = supernet(image, draw)
        with supernet.statistics_kept():
            inside = supernet(image, draw)
        with supernet.recalibrated([image], draw):
            pass
        before = remembered(supernet)
        sum(logits.square().mean() for logits in (*outside, *inside)).backward()
        assert same(before, remembered(supernet))
