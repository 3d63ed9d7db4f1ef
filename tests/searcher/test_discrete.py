"""An architecture as a draw: the supernet runs it as the network with the same weights does."""

from __future__ import annotations

import random

import pytest
import torch

from searcher.derive import network_with_weights
from searcher.discrete import draw_of
from searcher.space import FasterSegSpace
from searcher.supernet import Supernet
from trainer.architecture import Architecture

SETTINGS = {"layers": 6, "chis": (2, 4), "head_chi": 2, "stem_widths": (4, 8, 16), "num_classes": 5}


@pytest.fixture(scope="module")
def space() -> FasterSegSpace:
    return FasterSegSpace(**SETTINGS)


@pytest.fixture(scope="module")
def supernet(space: FasterSegSpace) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(space).double().eval()
    for norm in (module for module in supernet.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return supernet


def logits_of(supernet: Supernet, architecture: Architecture, image: torch.Tensor) -> torch.Tensor:
    draw = draw_of(architecture, supernet.lattice)
    finals = tuple(branch.s for branch in architecture.branches)
    (logits,) = supernet(image, type(draw)(*(x.double() for x in (draw.alpha, draw.beta, draw.gamma))), (finals,))
    return logits


@pytest.mark.parametrize("seed", range(20))
def test_the_draw_of_a_network_gives_its_logits(space: FasterSegSpace, supernet: Supernet, seed: int) -> None:
    architecture = space.sample(random.Random(seed))
    image = torch.randn(1, 3, 64, 96, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = network_with_weights(supernet.double(), architecture).double()(image)
        assert torch.allclose(logits_of(supernet, architecture, image), expected, rtol=0, atol=1e-5)


def test_a_draw_is_one_hot(space: FasterSegSpace) -> None:
    draw = draw_of(space.sample(random.Random(1)), space.lattice)
    for tensor in (draw.alpha, draw.beta, draw.gamma):
        assert torch.equal(tensor.sum(-1), torch.ones(tensor.shape[:-1]))
        assert set(tensor.unique().tolist()) == {0.0, 1.0}


def test_an_architecture_of_another_lattice_is_refused(space: FasterSegSpace) -> None:
    deeper = FasterSegSpace(**{**SETTINGS, "layers": 7})
    with pytest.raises(ValueError, match="layers"):
        draw_of(deeper.sample(random.Random(0)), space.lattice)
    wider = FasterSegSpace(**{**SETTINGS, "chis": (3,)})
    with pytest.raises(ValueError, match="expansion ratio 3"):
        draw_of(wider.sample(random.Random(0)), space.lattice)
