"""From an OpSpec to a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from latency_db.keys import MERGE, UPSAMPLE, OpSpec
from latency_db.operators.leaves import Leaves, PlainLeaves
from latency_db.operators.topology import Classifier, Conv, Fuse, Identity, Merge, Upsample, ZoomedConv

Builder = Callable[[Leaves, OpSpec], nn.Module]


@dataclass(frozen=True)
class Operator:
    """A kind of operator: how it is built and how far it sees.

    Attributes:
        build: makes the module.
        spacing: distance in input pixels between neighbouring taps of its 3×3 kernel; 2 where it is dilated or zoomed.
        title: the name in tables for people.
    """

    build: Builder
    title: str
    spacing: int = 1


def _skip(leaves: Leaves, spec: OpSpec) -> nn.Module:
    if spec.stride == 1:
        if spec.c_in != spec.c_out:
            raise ValueError(f"{spec.name}: a skip at stride 1 keeps its width")
        return Identity()
    return Conv(leaves, spec.c_in, spec.c_out, stride=2, kernel=1)


def _conv(times: int = 1, kernel: int = 3, dilation: int = 1, groups: int = 1) -> Builder:
    def build(leaves: Leaves, spec: OpSpec) -> nn.Module:
        return Conv(
            leaves,
            spec.c_in,
            spec.c_out,
            stride=spec.stride,
            times=times,
            kernel=kernel,
            dilation=dilation,
            groups=groups,
        )

    return build


def _zoomed(times: int = 1) -> Builder:
    return lambda leaves, spec: ZoomedConv(leaves, spec.c_in, spec.c_out, stride=spec.stride, times=times)


OPERATORS: dict[str, Operator] = {
    "skip": Operator(_skip, "skip"),
    "conv": Operator(_conv(), "conv."),
    "conv_x2": Operator(_conv(times=2), "conv. ×2"),
    "zoomed_conv": Operator(_zoomed(), "zoomed conv.", spacing=2),
    "zoomed_conv_x2": Operator(_zoomed(times=2), "zoomed conv. ×2", spacing=2),
    "conv_group2": Operator(_conv(groups=2), "conv. group2"),
    "conv_dilation2": Operator(_conv(dilation=2), "conv. dilation2", spacing=2),
    "reduce": Operator(_conv(kernel=1), "reduce 1×1"),
    MERGE: Operator(lambda leaves, spec: Merge(leaves, spec.c_in, spec.c_out), "merge"),
    "fuse": Operator(lambda leaves, spec: Fuse(leaves, spec.c_in, spec.c_out), "fuse"),
    "classify": Operator(lambda leaves, spec: Classifier(leaves, spec.c_in, spec.c_out), "classify"),
    UPSAMPLE: Operator(lambda leaves, spec: Upsample(spec.image.height, spec.image.width), "upsample"),
}
"""Every operator that FasterSeg's networks and the paper's Table 1 are made of, by name."""


def build_operator(spec: OpSpec, leaves: Leaves | None = None) -> nn.Module:
    """The operator as a module in eval mode.

    Args:
        spec: what to build.
        leaves: the family of leaf layers; plain ones by default.

    Raises:
        ValueError: no such operator, or widths that it cannot have.
    """
    if spec.op not in OPERATORS:
        raise ValueError(f"there is no operator {spec.op!r}; there are {', '.join(OPERATORS)}")
    return OPERATORS[spec.op].build(leaves if leaves is not None else PlainLeaves(), spec).eval()


def receptive_field(op: str) -> Fraction:
    """Receptive field of one 3×3 layer relative to the standard convolution's, as Table 1 of FasterSeg counts it.

    It counts the area's side as taps × spacing, so that a 3×3 kernel whose taps lie two pixels apart (dilated, or on a
    map of half the size) counts 2. (Strictly, dilation 2 spans 5 pixels against 3.)
    """
    return Fraction(OPERATORS[op].spacing)
