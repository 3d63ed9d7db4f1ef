"""Image sizes and operator keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec

IMAGE = ImageSize(256, 512)
SPEC = OpSpec("conv_x2", 8, 64, 128, 2, IMAGE)


@pytest.mark.parametrize("text", ["256x512", "256X512"])
def test_a_size_is_height_times_width(text: str) -> None:
    assert ImageSize.parse(text) == ImageSize(256, 512)


def test_a_size_reads_back_what_it_prints() -> None:
    assert ImageSize.parse(str(ImageSize(720, 960))) == ImageSize(720, 960)


@pytest.mark.parametrize("text", ["", "12x", "x12", "abc", "256", "256x512x3", "-256x512", "256.0x512", "256 x", "٢x"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HEIGHTxWIDTH"):
        ImageSize.parse(text)


@pytest.mark.parametrize("text", ["63x64", "64x63", "10x10", "0x0"])
def test_what_is_too_small_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="64x64"):
        ImageSize.parse(text)


@pytest.mark.parametrize(("s", "expected"), [(1, (97, 130)), (2, (49, 65)), (8, (13, 17)), (16, (7, 9)), (32, (4, 5))])
def test_every_halving_rounds_up(s: int, expected: tuple[int, int]) -> None:
    assert ImageSize(97, 130).at(s) == expected


@pytest.mark.parametrize("height", range(64, 140))
def test_halving_step_by_step_ends_where_halving_at_once_does(height: int) -> None:
    step = height
    for _ in range(5):
        step = (step + 1) // 2
    assert ImageSize(height, 64).at(32)[0] == step


@pytest.mark.parametrize("field", ["s", "c_in", "c_out", "stride", "batch", "branches"])
def test_an_operator_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"OpSpec\.{field} must be positive, not 0"):
        replace(SPEC, **{field: 0})


def test_expansion_ratios() -> None:
    assert (SPEC.chi_in, SPEC.chi_out) == (8, 8)
    assert replace(SPEC, stride=1).chi_out == 16
    assert replace(SPEC, c_in=60).chi_in is None
    assert replace(SPEC, c_out=60).chi_out is None


def test_names_tell_specs_apart() -> None:
    others = [
        replace(SPEC, **change)
        for change in (
            {"op": "conv"},
            {"s": 16},
            {"c_in": 32},
            {"c_out": 32},
            {"stride": 1},
            {"image": ImageSize(512, 256)},
            {"batch": 2},
            {"branches": 2},
        )
    ]
    assert len({spec.name for spec in (SPEC, *others)}) == len(others) + 1
    assert SPEC.name == "conv_x2 s8 64→128 /2 @256x512"


def test_shapes() -> None:
    assert SPEC.input_shapes == ((1, 64, 32, 64),)
    assert SPEC.output_shape == (1, 128, 16, 32)
    assert replace(SPEC, batch=3).output_shape == (3, 128, 16, 32)
    fuse = OpSpec("fuse", 8, 128, 128, 1, IMAGE, branches=2)
    assert fuse.input_shapes == ((1, 64, 32, 64), (1, 64, 32, 64))
    merge = OpSpec(MERGE, 8, 96, 64, 1, ImageSize(97, 130))
    assert merge.input_shapes == ((1, 64, 7, 9), (1, 32, 13, 17))
    assert merge.output_shape == (1, 64, 13, 17)
    assert OpSpec(UPSAMPLE, 8, 19, 19, 1, ImageSize(97, 130)).output_shape == (1, 19, 97, 130)


def test_specs_have_an_order() -> None:
    assert sorted([replace(SPEC, c_in=128), SPEC, replace(SPEC, op="conv")])[0].op == "conv"
