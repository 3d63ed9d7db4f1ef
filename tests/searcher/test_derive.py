"""From probabilities to an architecture, and from the supernet to a network of its own."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.errors import InputError
from latency_db.lattice import CellKey, Lattice
from latency_db.relaxed import RelaxedLatency
from searcher.derive import derive, downsample_positions, network_with_weights, walk_back
from searcher.lattice import Choice
from searcher.space import FasterSegSpace
from searcher.supernet import Draw, Supernet
from tests.latency_db.tables import random_table
from trainer.architecture import Architecture

SMALL: dict[str, Any] = {"layers": 6, "chis": (2, 3), "head_chi": 2, "stem_widths": (4, 8, 16), "num_classes": 5}


def space_of(**settings: Any) -> FasterSegSpace:
    return FasterSegSpace(**{**SMALL, **settings})


def one_hot(space: FasterSegSpace, choices: Mapping[CellKey, Choice]) -> tuple[Tensor, Tensor, Tensor]:
    """Choices as probabilities; what a cell does not have is at 0 or at nonsense that must not matter."""
    lattice = space.lattice
    shape = lattice.layers, len(lattice.scales)
    alpha, beta = torch.zeros(*shape, len(lattice.ops)), torch.full((*shape, 2), 0.7)
    gamma = F.one_hot(torch.zeros(shape, dtype=torch.long), len(lattice.chis)).float()
    for (s, layer), choice in choices.items():
        place = layer, lattice.scales.index(s)
        alpha[(*place, lattice.ops.index(choice.op))] = 1
        if len(lattice.predecessors((s, layer))) == 2:
            beta[place] = torch.tensor([1.0, 0.0] if choice.downsampled else [0.0, 1.0])
        if choice.chi is not None:
            gamma[place] = torch.tensor([float(chi == choice.chi) for chi in lattice.chis])
    return alpha, beta, gamma


def skips_that_keep_their_width(
    space: FasterSegSpace, choices: Mapping[CellKey, Choice], finals: tuple[int, ...]
) -> int | None:
    """How many stride-1 skips the branches pass; None if one of them changes its width."""
    skips = 0
    for final in finals:
        path, s = [], final
        for layer in reversed(range(space.lattice.layers)):
            path.append((s, layer))
            s //= 2 if choices[s, layer].downsampled else 1
        width = space.stem_widths[2]
        path.reverse()
        for (s, layer), follower in zip(path, [*path[1:], None], strict=True):
            choice, stride = choices[s, layer], 2 if follower and follower[0] > s else 1
            if choice.chi is None:
                continue
            if choice.op == "skip" and stride == 1:
                if width != choice.chi * s:
                    return None
                skips += 1
            width = choice.chi * s * stride
    return skips


def shaken(space: FasterSegSpace, seed: int = 0) -> Supernet:
    """A supernet in eval mode whose norms tell one width and one cell from another."""
    torch.manual_seed(seed)
    supernet = Supernet(space).eval()
    for norm in supernet.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
            nn.init.normal_(norm.running_mean, std=0.2)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return supernet


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 20),
        ({"branches": 1, "layers": 5}, 8),
        ({"branches": 3, "layers": 5, "output": "full"}, 8),
        # The stem is wider than any cell at its scale; widths in no order; two scales.
        ({"scales": (8, 16), "chis": (3, 1), "stem_widths": (4, 8, 40), "head_chi": 3}, 8),
    ],
    ids=str,
)
def test_the_derived_network_gives_the_supernets_logits(settings: dict[str, Any], count: int) -> None:
    space = space_of(**settings)
    supernet = shaken(space)
    rng = random.Random(5)
    image = torch.randn(1, 3, 72, 104)
    skips, sets = 0, set()
    while count > 0:
        choices, finals = space.lattice.sample(rng)
        passed = skips_that_keep_their_width(space, choices, finals)
        if passed is None:
            continue
        count, skips = count - 1, skips + passed
        sets.add(finals)
        probabilities = one_hot(space, choices)
        architecture = walk_back(*probabilities, finals, space)
        assert architecture == space.architecture(choices, finals)
        alpha, beta, gamma = probabilities
        assert derive(alpha, 50 * beta, gamma, finals, space) == architecture, "decided β leave one position"
        network = network_with_weights(supernet, replace(architecture, output="1/8"))
        with torch.inference_mode():
            (logits,) = supernet(image, Draw(*probabilities), branch_sets=(finals,))
            expected = network(image)
        assert logits.std() > 1e-2, "a comparison of nothing with nothing"
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert skips > 0
    assert sets == set(space.lattice.branch_sets())


def test_the_network_has_weights_of_its_own() -> None:
    space = space_of(layers=5)
    supernet = shaken(space)
    architecture = space.sample(random.Random(1))
    network = network_with_weights(supernet, architecture)
    assert not any(module.training for module in network.modules())
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(image)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    with torch.inference_mode():
        assert torch.equal(network(image), before)


def test_a_full_size_architecture_keeps_its_upsampling() -> None:
    space = space_of(layers=5, output="full")
    network = network_with_weights(shaken(space), space.sample(random.Random(1)))
    with torch.inference_mode():
        assert tuple(network(torch.randn(1, 3, 64, 96)).shape) == (1, 5, 64, 96)


def test_deriving_takes_the_most_likely_of_what_a_cell_has() -> None:
    space = space_of(layers=3)
    lattice = space.lattice
    alpha, beta, gamma = torch.zeros(3, 3, 5), torch.zeros(3, 3, 2), torch.zeros(3, 3, 2)
    alpha[:, :, lattice.ops.index("skip")] = 9  # not offered in the last layer: there the second best
    alpha[:, :, lattice.ops.index("zoomed_conv")] = 5
    alpha[1, 0, lattice.ops.index("conv_x2")] = 10
    beta[:, :, 0] = 1  # from the finer scale, where there is one
    gamma[1, 0, 1] = 1
    branch = derive(alpha, beta, gamma, (16,), space).branches[0]
    assert [(cell.layer, cell.s, cell.stride, cell.op, cell.chi) for cell in branch.cells] == [
        (1, 8, 2, "conv_x2", 3),
        (2, 16, 1, "zoomed_conv", None),
    ]


def random_logits(space: FasterSegSpace, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lattice = space.lattice
    sizes = len(lattice.ops), 2, len(lattice.chis)
    alpha, beta, gamma = (torch.randn(lattice.layers, len(lattice.scales), n, generator=generator) for n in sizes)
    return alpha, beta, gamma


def most_likely_positions(beta: Tensor, lattice: Lattice, final: int) -> tuple[int, ...]:
    """Footnote 2 by trying all: among equals the latest l_k, then the latest l_{k-1}, …"""
    count = lattice.scales.index(final)
    probability = beta.double().softmax(-1)[..., 0].tolist()
    ranked = {
        # fsum does not depend on the order of what it sums.
        positions: math.fsum(
            math.log(0.5 if layer == index else probability[layer][index])
            for index, layer in enumerate(positions, start=1)
        )
        for positions in itertools.combinations(range(1, lattice.layers), count)
        if all(layer >= index for index, layer in enumerate(positions, start=1))
    }
    return max(ranked, key=lambda positions: (ranked[positions], positions[::-1]))


@pytest.mark.parametrize(
    "settings", [{}, {"layers": 16}, {"layers": 4}, {"layers": 9, "scales": (8, 16, 32, 64)}], ids=str
)
def test_the_positions_are_those_of_the_largest_joint_probability(settings: dict[str, Any]) -> None:
    space = space_of(**settings)
    lattice = space.lattice
    differ = 0
    for seed in range(30):
        beta = random_logits(space, seed)[1]
        for final in lattice.scales:
            positions = downsample_positions(beta, final, lattice)
            assert positions == most_likely_positions(beta, lattice, final)
        differ += downsampled_at(*_both(space, seed))
    assert differ > 1, "walking back cell by cell would have done"


def _both(space: FasterSegSpace, seed: int) -> tuple[Architecture, Architecture]:
    logits, finals = random_logits(space, seed), space.lattice.branch_sets()[-1]
    return derive(*logits, finals, space), walk_back(*logits, finals, space)


def downsampled_at(one: Architecture, two: Architecture) -> bool:
    """Whether the two downsample in different places."""
    first, second = (
        [[cell.place for cell in branch.cells if cell.stride == 2] for branch in architecture.branches]
        for architecture in (one, two)
    )
    return first != second


def test_undecided_logits_downsample_as_late_as_they_can() -> None:
    lattice = space_of(layers=16, scales=(8, 16, 32, 64)).lattice
    beta = torch.zeros(16, 4, 2)
    assert [downsample_positions(beta, s, lattice) for s in lattice.scales] == [(), (15,), (14, 15), (13, 14, 15)]
    # Large and equal is as undecided; and what holds in double holds in half precision.
    assert downsample_positions(beta.half() + 300, 64, lattice) == (13, 14, 15)


def test_equal_products_are_equal_in_any_order() -> None:
    """Three logs add up to different floats in different orders; the later positions must win all the same."""
    lattice = space_of(layers=9, scales=(8, 16, 32, 64)).lattice
    generator = torch.Generator().manual_seed(6)
    for _ in range(100):
        values = torch.randn(3, generator=generator, dtype=torch.float64)
        beta = torch.zeros(9, 4, 2, dtype=torch.float64)
        beta[..., 0] = values[torch.randint(3, (9, 4), generator=generator)]
        assert downsample_positions(beta, 64, lattice) == most_likely_positions(beta, lattice, 64)


@pytest.mark.parametrize("shift", [-1e-9, -0.5, -5.0, -600.0])
def test_the_forced_cell_is_chosen_where_every_later_one_prefers_its_own_scale(shift: float) -> None:
    lattice = space_of(layers=8).lattice
    beta = torch.zeros(8, 3, 2, dtype=torch.float64)
    beta[..., 0] = shift
    beta[[1, 2], [1, 2]] = torch.tensor([-99.0, 99.0], dtype=torch.float64)  # no choice, whatever stands there
    assert downsample_positions(beta, 16, lattice) == (1,)
    assert downsample_positions(beta, 32, lattice) == (1, 2)
    beta[5, 1, 0] = 1e-9
    assert downsample_positions(beta, 16, lattice) == (5,)


@pytest.mark.parametrize("scales", [(8, 16), (8, 16, 32), (8, 16, 32, 64)], ids=len)
@pytest.mark.parametrize("rounding", [0, 1, None])
def test_branches_of_one_set_never_contradict_each_other(scales: tuple[int, ...], rounding: int | None) -> None:
    """Each branch downsamples where it would alone, however many there are; coarse rounding makes ties."""
    for branches in range(1, len(scales) + 1):
        space = space_of(layers=8, scales=scales, branches=branches)
        shared = 0
        for seed in range(40):
            alpha, beta, gamma = random_logits(space, seed)
            alpha[..., 0] = -9  # no skips: cells that vanish would hide where a branch downsamples
            beta = beta if rounding is None else beta.round(decimals=rounding)
            for finals in space.lattice.branch_sets():
                architecture = derive(alpha, beta, gamma, finals, space)  # which checks what branches share
                for branch, final in zip(architecture.branches, finals, strict=True):
                    after = [cell.layer + 1 for cell in branch.cells if cell.stride == 2]
                    assert tuple(after) == downsample_positions(beta, final, space.lattice)
                    assert [cell.layer for cell in branch.cells] == list(range(8))
                places = [cell.place for branch in architecture.branches for cell in branch.cells]
                shared += len(places) - len(set(places))
        assert branches == 1 or shared > 40


def test_what_is_no_set_of_logits_is_refused_in_one_line() -> None:
    space = space_of()
    alpha, beta, gamma = random_logits(space, 0)
    cases: list[tuple[tuple[Tensor, Tensor, Tensor, tuple[int, ...]], str]] = [
        ((alpha[:5], beta, gamma, (16,)), "alpha has shape"),
        ((alpha, beta[..., :1], gamma, (16,)), "beta has shape"),
        ((alpha, beta, gamma[None], (16,)), "gamma has shape"),
        ((alpha, beta, gamma, (24,)), "no branch ends at 24"),
        ((alpha, beta, gamma, (16, 16)), "each once"),
        ((alpha, beta, gamma, ()), "each once"),
        ((alpha, beta * math.inf, gamma, (16,)), "finite"),
        ((alpha * math.nan, beta, gamma, (16,)), "alpha of the cell at layer 0, s = 8"),
        ((alpha, beta, gamma * math.nan, (16,)), "gamma of the cell"),
    ]
    for wrong, message in cases:
        with pytest.raises(InputError, match=message):
            derive(*wrong, space)
    with pytest.raises(InputError, match="beta of the cell"):
        walk_back(alpha, beta * math.nan, gamma, (16,), space)


def test_one_draw_makes_the_logits_and_the_latency() -> None:
    """One layout for the supernet and for the relaxed latency, and one meaning of the most likely choice."""
    space = space_of(layers=5)
    table = random_table(space)
    relaxed = RelaxedLatency(table)
    generator = torch.Generator().manual_seed(4)
    shapes = (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    supernet = Supernet(space).eval()
    for _ in range(5):
        logits = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
        draw = Draw(*relaxed.one_hot(*logits))
        latencies = relaxed(draw.alpha, draw.beta, draw.gamma, probabilities=True)
        for finals, latency_ms in zip(supernet.branch_sets, latencies.tolist(), strict=True):
            network = space.decompose(walk_back(*logits, finals, space), table.image)
            assert table.predict(network).latency_ms == pytest.approx(latency_ms, rel=1e-9)
        with torch.inference_mode():
            assert len(supernet(torch.randn(1, 3, 64, 64), draw)) == len(latencies)


def test_an_architecture_of_another_space_is_refused() -> None:
    supernet = Supernet(space_of(layers=5))

    def sample(**settings: Any) -> Architecture:
        return space_of(**settings).sample(random.Random(2))

    for setting, value in (("head_chi", 3), ("num_classes", 7), ("stem_widths", (4, 8, 24))):
        with pytest.raises(ValueError, match=f"architecture's {setting}"):
            network_with_weights(supernet, sample(layers=5, **{setting: value}))
    with pytest.raises(ValueError, match="no branch set"):
        network_with_weights(supernet, sample(layers=5, branches=1))
    with pytest.raises(ValueError, match="emits"):
        network_with_weights(supernet, sample(layers=5, chis=(7,)))
    with pytest.raises(ValueError, match="supernet has no"):
        network_with_weights(supernet, sample(layers=9))
