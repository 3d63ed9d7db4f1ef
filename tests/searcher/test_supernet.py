"""The supernet against its equations, written out without any of its economies."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.lattice import CellKey
from latency_db.relaxed import sample_widths
from searcher.elastic_operators import ElasticOperator
from searcher.space import FasterSegSpace
from searcher.supernet import Draw, Supernet, cell_name, fixed_widths

SMALL: dict[str, Any] = {"layers": 4, "chis": (2, 3), "head_chi": 2, "stem_widths": (4, 8, 16), "num_classes": 5}
SKIP = 0


def supernet_of(
    *, seed: int = 0, checkpointing: bool = False, channels_last: bool = False, **settings: Any
) -> Supernet:
    torch.manual_seed(seed)
    space = FasterSegSpace(**{**SMALL, **settings})
    return Supernet(space, checkpointing=checkpointing, channels_last=channels_last)


def soft(supernet: Supernet, seed: int = 1) -> Draw:
    """Random probabilities over what every cell has, and random widths; leaves that take gradients."""
    lattice, generator = supernet.lattice, torch.Generator().manual_seed(seed)
    shape = lattice.layers, len(lattice.scales)
    alpha = torch.randn(*shape, len(lattice.ops), generator=generator)
    alpha[-1, :, SKIP] = float("-inf")
    beta = torch.randn(*shape, 2, generator=generator)
    gamma = fixed_widths(lattice, "random", random.Random(seed))
    return Draw(*(leaf.detach().requires_grad_() for leaf in (alpha.softmax(-1), beta.softmax(-1), gamma)))


def one_hot(supernet: Supernet, seed: int = 1) -> Draw:
    draw = soft(supernet, seed)
    alpha, beta = (F.one_hot(x.argmax(-1), x.shape[-1]).float() for x in (draw.alpha, draw.beta))
    return Draw(alpha, beta, draw.gamma.detach())


def zero_padded(x: Tensor, width: int) -> Tensor:
    return torch.cat([x, x.new_zeros(x.shape[0], width - x.shape[1], *x.shape[2:])], dim=1)


def mixed(terms: list[tuple[Tensor, Tensor]]) -> Tensor:
    width = max(x.shape[1] for _, x in terms)
    return sum((weight * zero_padded(x, width) for weight, x in terms), start=torch.zeros(()))


def paths(supernet: Supernet, final: int) -> Iterator[tuple[CellKey, ...]]:
    """Every way of a branch through the lattice, from the stem to its end."""
    lattice = supernet.lattice

    def back(cell: CellKey) -> Iterator[tuple[CellKey, ...]]:
        if cell[1] == 0:
            yield (cell,)
            return
        for finer in lattice.predecessors(cell):
            for path in back((cell[0] // 2 if finer else cell[0], cell[1] - 1)):
                yield (*path, cell)

    return back((final, lattice.layers - 1))


def by_the_equations(supernet: Supernet, image: Tensor, draw: Draw) -> list[Tensor]:
    """Logits per branch set: every cell runs, and the decoder's sides are a sum over whole paths."""
    lattice, around = supernet.lattice, supernet.around
    x = around["stem2"](around["stem1"](around["stem0"](image)))

    def place(cell: CellKey) -> tuple[int, int]:
        return cell[1], lattice.scales.index(cell[0])

    def beta(cell: CellKey, finer: bool) -> Tensor:
        return draw.beta[place(cell)][0 if finer else 1] if len(lattice.predecessors(cell)) == 2 else torch.ones(())

    inputs, outputs = {(8, 0): x}, {}
    for cell in lattice.cells():
        s, layer = cell
        if layer > 0:
            inputs[cell] = mixed(
                [
                    (beta(cell, finer), outputs[(s // 2 if finer else s), layer - 1, 2 if finer else 1])
                    for finer in lattice.predecessors(cell)
                ]
            )
        chi = supernet.space.head_chi if lattice.is_last(cell) else lattice.chis[int(draw.gamma[place(cell)].argmax())]
        for stride in (1, 2):
            if cell_name(cell, stride) in supernet.cells:
                outputs[s, layer, stride] = mixed(
                    [
                        (draw.alpha[place(cell)][lattice.ops.index(op)], operator(inputs[cell], c_out=chi * s * stride))
                        for op, operator in supernet.operators_of(cell, stride).items()
                    ]
                )

    def side(final: int, s: int) -> Tensor:
        terms = []
        for path in paths(supernet, final):
            steps = list(itertools.pairwise(path))
            probability = torch.stack([beta(after, after[0] > before[0]) for before, after in steps]).prod()
            (joined,) = (before for before, after in steps if before[0] == s and after[0] == 2 * s)
            terms.append((probability, inputs[joined]))
        return mixed(terms)

    def decoded(final: int) -> Tensor:
        x, s = outputs[final, lattice.layers - 1, 1], final
        while s > 8:
            x = around[f"branch{final}_reduce{s}"](x)
            s //= 2
            x = around[f"branch{final}_merge{s}"](x, side(final, s), c_out=supernet.space.head_chi * s)
        return x

    return [
        supernet.head(finals)["classify"](supernet.head(finals)["fuse"](*(decoded(final) for final in finals)))
        for finals in supernet.branch_sets
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layers": 6, "branches": 1},
        {"branches": 3, "chis": (3, 1, 2)},
        {"scales": (8, 16), "chis": (1,), "stem_widths": (4, 8, 24), "head_chi": 3},
    ],
    ids=str,
)
def test_the_logits_are_those_of_the_equations(settings: dict[str, Any]) -> None:
    supernet = supernet_of(**settings).eval()
    image = torch.randn(2, 3, 72, 104)
    with torch.no_grad():
        for draw in (soft(supernet), one_hot(supernet), one_hot(supernet, seed=2)):
            for got, expected in zip(supernet(image, draw), by_the_equations(supernet, image, draw), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (97, 130)], ids=str)
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_one_set_of_logits_at_an_eighth_per_branch_set(size: tuple[int, int], branches: int) -> None:
    supernet = supernet_of(branches=branches)
    logits = supernet(torch.randn(2, 3, *size), soft(supernet))
    assert len(logits) == len(supernet.branch_sets)
    for each in logits:
        assert tuple(each.shape) == (2, 5, -(-size[0] // 8), -(-size[1] // 8))


def test_branch_sets_can_be_asked_for_one_by_one() -> None:
    supernet = supernet_of().eval()
    image, draw = torch.randn(1, 3, 64, 64), soft(supernet)
    with torch.no_grad():
        together = supernet(image, draw)
        for finals, expected in zip(supernet.branch_sets, together, strict=True):
            (alone,) = supernet(image, draw, branch_sets=[finals])
            torch.testing.assert_close(alone, expected)
    with pytest.raises(ValueError, match="no branch set"):
        supernet(image, draw, branch_sets=[(8,)])


def test_gradients_reach_every_choice_that_a_cell_has_and_no_other() -> None:
    supernet = supernet_of(layers=4)
    draw = soft(supernet)
    sum(logits.square().mean() for logits in supernet(torch.randn(2, 3, 64, 64), draw)).backward()
    lattice = supernet.lattice
    alpha, beta, gamma = (torch.zeros_like(x, dtype=torch.bool) for x in (draw.alpha, draw.beta, draw.gamma))
    for cell in lattice.cells():
        place = cell[1], lattice.scales.index(cell[0])
        for op in lattice.operators(cell):
            alpha[(*place, lattice.ops.index(op))] = True
        beta[place] = len(lattice.predecessors(cell)) == 2
        if not lattice.is_last(cell):
            gamma[place] = draw.gamma[place] == 1
    assert torch.equal(draw.alpha.grad != 0, alpha)
    assert torch.equal(draw.beta.grad != 0, beta)
    assert torch.equal(draw.gamma.grad != 0, gamma)
    assert all(parameter.grad is not None for parameter in supernet.around.parameters())
    assert all(parameter.grad is not None for parameter in supernet.heads.parameters())


def test_a_sampled_width_passes_its_gradient_to_the_logits_of_all_widths() -> None:
    supernet = supernet_of()
    draw = soft(supernet)
    gamma = torch.zeros_like(draw.gamma).requires_grad_()
    drawn = Draw(draw.alpha, draw.beta, sample_widths(gamma))
    supernet(torch.randn(2, 3, 64, 64), drawn)[0].square().mean().backward()
    assert gamma.grad is not None and (gamma.grad[0, 0] != 0).all()


def ran(supernet: Supernet, draw: Draw) -> Counter[str]:
    """How often each elastic operator runs, by module name."""
    calls: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in supernet.cells.named_modules()
        if isinstance(module, ElasticOperator)
    ]
    with torch.no_grad():
        supernet(torch.randn(1, 3, 64, 64), draw)
    for handle in handles:
        handle.remove()
    return calls


def test_everything_runs_once_where_everything_is_possible() -> None:
    supernet = supernet_of().eval()
    calls = ran(supernet, soft(supernet))
    assert set(calls.values()) == {1}
    assert set(calls) == {f"{name}.{op}" for name, cell in supernet.cells.items() for op in cell}


def test_what_has_probability_0_does_not_run() -> None:
    supernet = supernet_of(layers=6).eval()
    lattice = supernet.lattice
    for seed in range(5):
        draw = one_hot(supernet, seed)
        expected = set()
        for final in lattice.scales:
            for path in paths(supernet, final):
                steps = list(itertools.pairwise(path))
                if all(
                    len(lattice.predecessors(after)) == 1
                    or draw.beta[after[1], lattice.scales.index(after[0]), 0 if after[0] > before[0] else 1] == 1
                    for before, after in steps
                ):
                    for before, after in [*steps, (path[-1], path[-1])]:
                        op = lattice.ops[int(draw.alpha[before[1], lattice.scales.index(before[0])].argmax())]
                        expected.add(f"{cell_name(before, after[0] // before[0])}.{op}")
        assert ran(supernet, draw) == Counter(expected)


def test_a_width_that_is_drawn_is_the_width_of_what_goes_out() -> None:
    supernet = supernet_of(layers=3).eval()
    widths: dict[str, int] = {}
    for name, module in supernet.cells.named_modules():
        if isinstance(module, ElasticOperator):
            module.register_forward_hook(lambda _, __, y, name=name: widths.update({name: y.shape[1]}))
    for rule, chi in (("narrowest", 2), ("widest", 3)):
        draw = soft(supernet)
        with torch.no_grad():
            supernet(torch.randn(1, 3, 64, 64), Draw(draw.alpha, draw.beta, fixed_widths(supernet.lattice, rule)))
        assert widths["cell_l0_s8_x1.conv"] == widths["cell_l0_s8_x1.skip"] == 8 * chi
        assert widths["cell_l1_s16_x2.zoomed_conv"] == 32 * chi
        assert widths["cell_l2_s32_x1.conv"] == 32 * 2, "the head's width"


def trained(supernet: Supernet) -> tuple[tuple[Tensor, ...], dict[str, Tensor], dict[str, Tensor], Draw]:
    torch.manual_seed(7)
    draw = soft(supernet)
    logits = supernet(torch.randn(2, 3, 64, 96), draw)
    sum(each.square().mean() for each in logits).backward()
    gradients = {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}
    return logits, gradients, dict(supernet.named_buffers()), draw


@pytest.mark.parametrize("option", ["checkpointing", "channels_last"])
def test_options_change_nothing_but_speed_and_memory(option: str) -> None:
    plain, other = trained(supernet_of()), trained(supernet_of(**{option: True}))
    for one, two in zip(plain[0], other[0], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    for one, two in zip(plain[1:3], other[1:3], strict=True):
        # Statistics too: a layer that runs twice has seen the batch once.
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    for name in ("alpha", "beta", "gamma"):
        torch.testing.assert_close(getattr(plain[3], name).grad, getattr(other[3], name).grad, rtol=1e-3, atol=1e-4)


def test_norms_count_a_batch_once_and_keep_their_momentum_under_checkpointing() -> None:
    supernet = supernet_of(checkpointing=True)
    for _ in range(2):
        trained(supernet)
    norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {0.1}
    assert {int(norm.num_batches_tracked) for norm in norms} == {0, 2}, "0 where the width was not drawn"


def test_fixed_widths() -> None:
    lattice = FasterSegSpace(layers=3, chis=(6, 4, 8)).lattice
    for rule, index in (("widest", 2), ("narrowest", 1)):
        assert torch.equal(fixed_widths(lattice, rule), F.one_hot(torch.full((3, 3), index), 3).float())
    drawn = fixed_widths(lattice, "random", random.Random(1))
    assert torch.equal(drawn.sum(-1), torch.ones(3, 3)) and len(drawn.argmax(-1).unique()) > 1
    assert torch.equal(drawn, fixed_widths(lattice, "random", random.Random(1)))
    with pytest.raises(ValueError, match="random numbers"):
        fixed_widths(lattice, "random")


def test_a_draw_that_does_not_fit_is_refused() -> None:
    supernet = supernet_of()
    draw, image = one_hot(supernet), torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"gamma has shape \(4, 3, 5\), not \(4, 3, 2\)"):
        supernet(image, Draw(draw.alpha, draw.beta, torch.zeros(4, 3, 5)))
    with pytest.raises(ValueError, match=r"alpha is 0 for every choice .* \(8, 0\)"):
        supernet(image, Draw(torch.zeros_like(draw.alpha), draw.beta, draw.gamma))
    with pytest.raises(ValueError, match=r"beta is 0 for every choice .* \(16, 2\)"):
        supernet(image, Draw(draw.alpha, torch.zeros_like(draw.beta), draw.gamma))
