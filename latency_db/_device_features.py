"""What a device model sees of an operator: sizes that follow from its OpSpec alone. No torch, no SQL."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import NamedTuple

from latency_db.keys import UPSAMPLE, ImageSize, OpSpec, ceil_div

FLOAT32 = 4
PIXELS, CHANNELS = 8192, 128
"""Logarithms count from here, the middle of FasterSeg's space, so that their products are small and round well."""
TILES = (32, 64, 128)
"""Kernels work on whole tiles of channels; how many channels a tile has, device and library choose."""

_KERNEL_TAPS = {
    "conv": 9,
    "conv_x2": 9,
    "zoomed_conv": 9,
    "zoomed_conv_x2": 9,
    "conv_group2": 9,
    "conv_dilation2": 9,
    "merge": 9,
    "skip": 1,
    "reduce": 1,
    "fuse": 1,
}
_ZOOMED = ("zoomed_conv", "zoomed_conv_x2")
_TWICE = ("conv_x2", "zoomed_conv_x2")


class Feature(NamedTuple):
    """One named number of an operator."""

    name: str
    value: float


def costs_nothing(spec: OpSpec) -> bool:
    """Whether the operator hands its input on: a skip at stride 1. What a timer says of it is overhead."""
    return spec.op == "skip" and spec.stride == 1


def body_pixels(spec: OpSpec) -> int:
    """Pixels of the map that the convolutions write, over the batch: the output's, or half of that where zoomed."""
    if spec.op in _ZOOMED:
        # At stride 2 the zoomed map is the output; at stride 1 it is half as high and half as wide.
        height, width = spec.image.at(spec.s)
        return spec.batch * ceil_div(height, 2) * ceil_div(width, 2)
    batch, _, height, width = spec.output_shape
    return batch * height * width


def weights(spec: OpSpec) -> int | None:
    """Weights of the convolutions, biases not counted; None where it is not known what the operator is made of."""
    if spec.op == UPSAMPLE or costs_nothing(spec):
        return 0
    if spec.op == "classify":
        return 9 * spec.c_in**2 + spec.c_in * spec.c_out
    if spec.op not in _KERNEL_TAPS:
        return None
    taps = _KERNEL_TAPS[spec.op]
    groups = 2 if spec.op == "conv_group2" else 1
    second = taps * spec.c_out**2 if spec.op in _TWICE else 0
    return taps * spec.c_in * spec.c_out // groups + second


def macs(spec: OpSpec) -> int | None:
    """Multiply-adds of the convolutions, each counted once: every weight meets every pixel of the map it writes."""
    count = weights(spec)
    return None if count is None else count * body_pixels(spec)


def work(spec: OpSpec) -> float:
    """What the operator's latency roughly goes with: its multiply-adds; what it moves in bytes where there are none."""
    return float(macs(spec) or _bytes(spec.input_shapes) + _bytes((spec.output_shape,)))


def sizes(spec: OpSpec) -> dict[str, float]:
    """How large the operator is: what the range of a fit is told by.

    pixels (of :func:`body_pixels`), channels in and out, batch, branches, bytes of all inputs and of the output
    (float32), and for operators whose make is known multiply-adds.
    """
    found = {
        "pixels": body_pixels(spec),
        "c_in": spec.c_in,
        "c_out": spec.c_out,
        "batch": spec.batch,
        "branches": spec.branches,
        "bytes_in": _bytes(spec.input_shapes),
        "bytes_out": _bytes((spec.output_shape,)),
    }
    count = macs(spec)
    if count is not None:
        found["macs"] = count
    return {name: float(value) for name, value in found.items()}


def features(spec: OpSpec) -> tuple[Feature, ...]:
    """Every feature of an operator, named; the same names in the same order for all operators of one name.

    - the sizes of :func:`sizes`, and ``bytes_weights`` where its make is known;
    - ``p``, ``i``, ``o``: base-2 logarithms of pixels/8192, channels in/128, channels out/128, and their products
      (``p*o``, ``i*i``, …);
    - ``i32``, ``o64``, …: log2 of what rounding the channels in or out up to whole tiles of 32, 64 or 128 multiplies
      them by, and ``p*o64``, …;
    - ``macs_i32``, ``macs_o64``, …: the multiply-adds times that factor, where its make is known.
    """
    found = sizes(spec)
    count = weights(spec)
    if count is not None:
        found["bytes_weights"] = float(FLOAT32 * count)
    logs = {
        "p": math.log2(found["pixels"] / PIXELS),
        "i": math.log2(spec.c_in / CHANNELS),
        "o": math.log2(spec.c_out / CHANNELS),
    }
    found |= logs
    for one, other in combinations_with_replacement(logs, 2):
        found[f"{one}*{other}"] = logs[one] * logs[other]
    for side, channels in (("i", spec.c_in), ("o", spec.c_out)):
        for tile in TILES:
            factor = ceil_div(channels, tile) * tile / channels
            found[f"{side}{tile}"] = math.log2(factor)
            found[f"p*{side}{tile}"] = logs["p"] * math.log2(factor)
            if "macs" in found:
                found[f"macs_{side}{tile}"] = found["macs"] * factor
    return tuple(Feature(name, value) for name, value in found.items())


def feature_names(op: str) -> tuple[str, ...]:
    """What the features of an operator are called."""
    return tuple(feature.name for feature in features(OpSpec(op, 1, 1, 1, 2, ImageSize(64, 64))))


def _bytes(shapes: tuple[tuple[int, int, int, int], ...]) -> int:
    return sum(FLOAT32 * math.prod(shape) for shape in shapes)
