"""From probabilities to an architecture, and from the supernet to a network of its own."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.lattice import CellKey
from latency_db.relaxed import RelaxedLatency
from searcher.derive import derive, network_with_weights
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
        architecture = derive(*probabilities, finals, space)
        assert architecture == space.architecture(choices, finals)
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


def test_logits_and_probabilities_derive_the_same() -> None:
    space = space_of()
    generator = torch.Generator().manual_seed(3)
    shapes = ((6, 3, 5), (6, 3, 2), (6, 3, 2))
    for finals in space.lattice.branch_sets():
        logits = [torch.randn(shape, generator=generator) for shape in shapes]
        assert derive(*logits, finals, space) == derive(*(tensor.softmax(-1) for tensor in logits), finals, space)


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
            network = space.decompose(derive(*logits, finals, space), table.image)
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
