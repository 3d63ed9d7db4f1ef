"""The one definition of every operator: its shapes are those of its key, and it computes what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from latency_db.keys import ImageSize, OpSpec
from latency_db.operators import OPERATORS, build_operator, receptive_field
from searcher.space import FasterSegSpace

SPACES: list[dict[str, Any]] = [
    {},
    {"branches": 1, "output": "full", "num_classes": 11},
    {"branches": 3, "head_chi": 12},
    {"scales": (8, 16), "chis": (5,), "stem_widths": (16, 32, 48)},
]
SMALL = ImageSize(97, 130)


def shapes_hold(*specs: OpSpec) -> bool:
    """Whether the module takes the keys' inputs, no others, and returns the keys' outputs. On no device at all.

    The specs differ in their image's size alone: one module must do for all of them.
    """
    with torch.device("meta"), torch.no_grad():
        module = build_operator(specs[0])
        return all(
            tuple(module(*(torch.empty(shape) for shape in spec.input_shapes)).shape) == spec.output_shape
            for spec in specs
        )


def really_runs(spec: OpSpec) -> bool:
    """As ``shapes_hold``, on the CPU, where a resize takes microseconds; on no device it takes ten milliseconds."""
    with torch.device("meta"):
        module = build_operator(spec)
    # Only the shapes count: no time is spent on weights.
    module.to_empty(device="cpu")
    with torch.inference_mode():
        for tensor in module.state_dict().values():
            tensor.zero_()
        return tuple(module(*(torch.zeros(shape) for shape in spec.input_shapes)).shape) == spec.output_shape


def test_the_shapes_of_every_spec_are_those_of_its_module() -> None:
    specs = FasterSegSpace().specs(ImageSize(64, 64))
    assert len(specs) == 567
    assert [spec.name for spec in specs if not really_runs(spec)] == []


def test_one_module_does_for_all_sizes() -> None:
    space = FasterSegSpace()
    pairs = zip(space.specs(ImageSize(256, 512)), space.specs(ImageSize(64, 64)), strict=True)
    # Of every operator, scale and stride some; widths are covered above.
    some = {(large.op, large.s, large.stride, large.branches): (large, small) for large, small in pairs}
    assert [large.name for large, small in some.values() if not shapes_hold(large, small)] == []


@pytest.mark.parametrize("settings", SPACES, ids=str)
@pytest.mark.parametrize("image", [ImageSize(720, 960), SMALL], ids=str)
def test_the_shapes_hold_at_other_settings_and_sizes(settings: dict[str, Any], image: ImageSize) -> None:
    specs = FasterSegSpace(**settings).specs(image)
    # Of every operator, scale and stride some; widths are covered above.
    some = {(spec.op, spec.s, spec.stride, spec.branches): spec for spec in specs}.values()
    assert [spec.name for spec in some if not shapes_hold(spec)] == []


def test_the_shapes_hold_for_a_batch() -> None:
    some = {spec.op: spec for spec in FasterSegSpace(output="full").specs(ImageSize(64, 96), batch=3)}
    assert [spec.name for spec in some.values() if not shapes_hold(spec)] == []
    assert all(spec.output_shape[0] == 3 for spec in some.values())


def test_every_operator_of_the_space_and_of_the_table_is_defined() -> None:
    used = {spec.op for spec in FasterSegSpace(output="full").specs(SMALL)}
    assert used | {"conv_group2", "conv_dilation2"} == set(OPERATORS)


def ran(spec: OpSpec) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    module = build_operator(spec)
    image = torch.randn(spec.input_shapes[0])
    with torch.inference_mode():
        return module, image, module(image)


def conv_count(module: nn.Module) -> int:
    return sum(isinstance(child, nn.Conv2d) for child in module.modules())


SPEC = OpSpec("conv", 8, 4, 6, 1, SMALL)


def test_a_skip_at_stride_1_is_the_identity() -> None:
    module, image, output = ran(replace(SPEC, op="skip", c_out=4))
    assert output is image
    assert list(module.parameters()) == []


def test_a_skip_at_stride_1_keeps_its_width() -> None:
    with pytest.raises(ValueError, match="keeps its width"):
        build_operator(replace(SPEC, op="skip"))


def test_a_skip_at_stride_2_is_one_1x1_convolution() -> None:
    module, image, output = ran(replace(SPEC, op="skip", stride=2))
    (conv,) = (child for child in module.modules() if isinstance(child, nn.Conv2d))
    assert conv.kernel_size == (1, 1)
    # Fresh batch norm divides by √(1 + ε) and no more.
    expected = F.relu(F.conv2d(image[:, :, ::2, ::2], conv.weight)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize(
    ("op", "convolutions"), [("conv", 1), ("conv_x2", 2), ("zoomed_conv", 1), ("zoomed_conv_x2", 2)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_how_many_convolutions_an_operator_has(op: str, convolutions: int, stride: int) -> None:
    module, _, output = ran(replace(SPEC, op=op, stride=stride))
    assert conv_count(module) == convolutions
    assert tuple(output.shape) == replace(SPEC, op=op, stride=stride).output_shape


def test_a_zoomed_convolution_convolves_the_halved_map() -> None:
    module, image, output = ran(replace(SPEC, op="zoomed_conv"))
    (conv,) = (child for child in module.modules() if isinstance(child, nn.Conv2d))
    small = F.interpolate(image, size=(7, 9), mode="bilinear", align_corners=False)
    low = F.relu(F.conv2d(small, conv.weight, padding=1)) / (1 + 1e-5) ** 0.5
    expected = F.interpolate(low, size=(13, 17), mode="bilinear", align_corners=False)
    torch.testing.assert_close(output, expected)
    strided, _, smaller = ran(replace(SPEC, op="zoomed_conv", stride=2))
    strided.load_state_dict(module.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(strided(image), low)
    assert tuple(smaller.shape) == tuple(low.shape)


def test_grouped_and_dilated_convolutions() -> None:
    for op, expected in (("conv_group2", (2, (1, 1), (1, 1))), ("conv_dilation2", (1, (2, 2), (2, 2)))):
        module = build_operator(replace(SPEC, op=op))
        (conv,) = (child for child in module.modules() if isinstance(child, nn.Conv2d))
        assert (conv.groups, conv.dilation, conv.padding) == expected


def test_merge_puts_the_coarse_map_before_the_fine_one() -> None:
    spec = OpSpec("merge", 8, 10, 6, 1, SMALL)
    module = build_operator(spec)
    coarse, fine = (torch.randn(shape) for shape in spec.input_shapes)
    (conv,) = (child for child in module.modules() if isinstance(child, nn.Conv2d))
    joined = torch.cat([F.interpolate(coarse, size=(13, 17), mode="bilinear", align_corners=False), fine], dim=1)
    with torch.inference_mode():
        torch.testing.assert_close(
            module(coarse, fine), F.relu(F.conv2d(joined, conv.weight, padding=1)) / (1 + 1e-5) ** 0.5
        )


def test_the_classifier_returns_logits_below_zero_too() -> None:
    _, _, logits = ran(OpSpec("classify", 8, 16, 19, 1, SMALL))
    assert logits.min() < 0 < logits.max()


def test_modules_are_in_eval_mode() -> None:
    assert not any(
        child.training
        for op in ("conv", "merge", "fuse")
        for child in build_operator(OpSpec(op, 8, 8, 4, 1, SMALL)).modules()
    )


def test_an_unknown_operator_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'deconv'.*zoomed_conv_x2"):
        build_operator(replace(SPEC, op="deconv"))


@pytest.mark.parametrize(
    ("op", "expected"), [("conv", 1), ("conv_group2", 1), ("conv_dilation2", 2), ("zoomed_conv", 2)]
)
def test_receptive_fields_are_those_of_the_papers_table(op: str, expected: int) -> None:
    assert receptive_field(op) == expected


def test_leaves_are_injected_everywhere() -> None:
    made: list[str] = []

    class Counting:
        def conv(self, c_in: int, c_out: int, kernel: int, **options: Any) -> nn.Module:
            made.append("conv")
            options = {"bias": False, **options}
            padding = options.get("dilation", 1) * (kernel // 2)
            return nn.Conv2d(c_in, c_out, kernel, padding=padding, **options)

        def norm(self, channels: int) -> nn.Module:
            made.append("norm")
            return nn.BatchNorm2d(channels)

    for op in OPERATORS:
        if op == "upsample":
            continue
        made.clear()
        spec = OpSpec(op, 8, 8, 4, 2 if op == "skip" else 1, SMALL)
        module = build_operator(spec, Counting())
        leaves = [child for child in module.modules() if isinstance(child, (nn.Conv2d, nn.BatchNorm2d))]
        assert len(leaves) == len(made) > 0, op
