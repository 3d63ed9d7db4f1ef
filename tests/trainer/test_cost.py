"""Parameters and multiply-adds against the formulas."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.builtin import FASTERSEG_STUDENT
from trainer.cli import main
from trainer.cost import CostError, count_cost
from trainer.network import Network


def test_a_convolution_costs_its_kernel_at_every_output() -> None:
    network = nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2))
    cost = count_cost(network, (64, 96))
    assert cost.output_shape == (1, 8, 32, 48)
    assert cost.parameters == 8 * 3 * 3 * 5 + 8
    assert cost.macs == 32 * 48 * 8 * 3 * 3 * 5


def test_groups_and_matrix_products_count_what_runs() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(3, 6, 3, padding=1, groups=3)
            self.linear = nn.Linear(6, 4)

        def forward(self, image: Tensor) -> Tensor:
            return self.linear(self.depthwise(image).mean((2, 3)))

    assert count_cost(Mixed(), (64, 64)).macs == 64 * 64 * 6 * 1 * 9 + 6 * 4


def test_what_runs_at_half_the_resolution_costs_a_quarter() -> None:
    class Zoomed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

        def forward(self, image: Tensor) -> Tensor:
            half = F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
            return F.interpolate(self.conv(half), size=image.shape[-2:], mode="bilinear", align_corners=False)

    assert count_cost(Zoomed(), (64, 64)).macs == 32 * 32 * 3 * 3 * 9


def test_what_only_training_runs_does_not_count_and_the_module_stays_as_it_is() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, padding=1)
            self.again = self.conv
            self.norm = nn.BatchNorm2d(2)

        def forward(self, image: Tensor) -> Tensor:
            value = self.norm(self.conv(image))
            return self.head(value) if self.training else value

    network = Auxiliary().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost = count_cost(network, (64, 64))
    assert cost.macs == 64 * 64 * 2 * 3
    assert cost.parameters == (2 * 3 + 2) + (2 * 2 * 9 + 2) + 4
    assert network.training
    assert network.conv.weight.requires_grad
    for name, value in network.state_dict().items():
        assert value.device.type == "cpu"
        torch.testing.assert_close(value, before[name])


def test_a_network_of_the_space_costs_what_its_convolutions_do_when_it_runs() -> None:
    network = Network(FASTERSEG_STUDENT).eval()
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        counted += output.numel() * module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 3, 64, 128))
    assert count_cost(Network(FASTERSEG_STUDENT), (64, 128)).macs == counted


def test_what_does_not_run_is_said_in_one_line() -> None:
    with pytest.raises(CostError, match=r"cannot be counted at 64x64"):
        count_cost(nn.Conv2d(4, 1, 1), (64, 64))

    class Two(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return image, image

    with pytest.raises(CostError, match="tuple"):
        count_cost(Two(), (64, 64))


def info(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(main, ["info", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_info_of_a_built_in_architecture() -> None:
    found = info("fasterseg-student", "--image-size", "128x256")
    assert found["operators"] == 27
    assert found["output_shape"] == [1, 19, 16, 32]
    assert found["macs"] == count_cost(Network(FASTERSEG_STUDENT), (128, 256)).macs
    assert info("fasterseg-student", "--classes", "11", "--image-size", "64x64")["output_shape"] == [1, 11, 8, 8]


def test_info_of_a_module_of_ones_own() -> None:
    found = info("tests.trainer.painted:nearest_colour", "--image-size", "64x64", "--classes", "5")
    assert (found["parameters"], found["macs"], found["operators"]) == (5 * 3 + 5, 64 * 64 * 5 * 3, None)


def test_info_of_a_network_of_the_zoo() -> None:
    found = info("fast-scnn", "--image-size", "128x128")
    assert found["operators"] is None
    assert found["output_shape"][1] == 19


def test_info_says_what_it_does_not_know() -> None:
    done = CliRunner().invoke(main, ["info", "nonesuch"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: there is no file nonesuch")
    assert done.stderr.count("\n") == 1
