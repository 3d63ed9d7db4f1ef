"""A network as a module: its shapes, and that it does what its plan says."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from latency_db.keys import ImageSize
from latency_db.operators.topology import resize
from searcher.space import FasterSegSpace
from trainer.network import Network
from trainer.plan import IMAGE, plan

SMALL: dict[str, Any] = {"layers": 5, "chis": (2, 3), "head_chi": 2, "stem_widths": (4, 8, 16), "num_classes": 5}
SIZES = [ImageSize(64, 64), ImageSize(97, 130), ImageSize(256, 512)]


def networks(count: int, **settings: Any) -> list[Network]:
    space = FasterSegSpace(**{**SMALL, **settings})
    rng = random.Random(11)
    torch.manual_seed(0)
    return [Network(space.sample(rng)).eval() for _ in range(count)]


@pytest.mark.parametrize("image", SIZES, ids=str)
@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize("output", ["1/8", "full"])
def test_the_logits_have_the_size_that_was_asked_for(image: ImageSize, branches: int, output: str) -> None:
    height, width = (image.height, image.width) if output == "full" else image.at(8)
    for network in networks(3, branches=branches, output=output):
        with torch.inference_mode():
            logits = network(torch.randn(1, 3, image.height, image.width))
        assert tuple(logits.shape) == (1, 5, height, width)
        assert torch.isfinite(logits).all()


def test_networks_of_the_whole_space_have_it_too() -> None:
    space = FasterSegSpace()
    rng = random.Random(3)
    with torch.device("meta"), torch.no_grad():
        for _ in range(3):
            network = space.build(space.sample(rng))
            assert tuple(network(torch.empty(2, 3, 720, 960)).shape) == (2, 19, 90, 120)
            assert tuple(network(torch.empty(1, 3, 64, 64)).shape) == (1, 19, 8, 8)


def test_one_module_takes_any_size_and_does_not_remember_the_last() -> None:
    (network,) = networks(1, output="full")
    inputs = [torch.randn(2, 3, image.height, image.width) for image in SIZES]
    with torch.inference_mode():
        first = [network(image) for image in inputs]
        again = [network(image) for image in reversed(inputs)][::-1]
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("output", ["1/8", "full"])
def test_running_the_plan_by_hand_gives_the_networks_logits(output: str) -> None:
    image = ImageSize(97, 130)
    for network in networks(4, branches=2, output=output):
        steps = plan(network.architecture, image)
        pixels = torch.randn(1, 3, 97, 130)
        values: list[torch.Tensor] = []
        with torch.inference_mode():
            for step in steps:
                taken = [pixels if source == IMAGE else values[source] for source in step.inputs]
                if step.spec.op == "upsample":
                    values.append(resize(taken[0], 97, 130))
                    continue
                assert tuple(tuple(value.shape) for value in taken) == step.spec.input_shapes
                values.append(network.operators[step.name](*taken))
                assert tuple(values[-1].shape) == step.spec.output_shape
            torch.testing.assert_close(network(pixels), values[-1])


def test_every_cell_matters() -> None:
    """No operator of the plan is left out of the forward pass: changing any one's weights changes the logits."""
    (network,) = networks(1, branches=2)
    pixels = torch.randn(1, 3, 64, 64)
    called: list[str] = []
    for name, operator in network.operators.items():
        operator.register_forward_hook(lambda *_, name=name: called.append(name))
    with torch.inference_mode():
        network(pixels)
    assert sorted(called) == sorted(network.operators), "each once, shared cells too"


def test_the_same_seed_builds_the_same_network() -> None:
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        first, second = (networks(1)[0](pixels) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
