"""Table 1 of the paper for any target: convolutions compared by what they cost and how far they see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.samples import Estimate
from latency_db.keys import ImageSize, OpSpec
from latency_db.operators import OPERATORS, build_operator, receptive_field

OPS = ("conv", "conv_group2", "conv_dilation2", "zoomed_conv")
CHANNELS = 256
S = 8
IMAGE = ImageSize(256, 512)
"""With s = 8 the input is 1×256×32×64, the paper's."""
PAPER_MS = {"conv": 0.15, "conv_group2": 0.13, "conv_dilation2": 0.25, "zoomed_conv": 0.09}
"""What the paper prints, in ms: of its GTX 1080 Ti with TensorRT, to two digits."""


def specs() -> list[OpSpec]:
    """The four convolutions of Table 1, each with one 3×3 layer of 256 channels on a 32×64 map."""
    return [OpSpec(op, S, CHANNELS, CHANNELS, 1, IMAGE) for op in OPS]


@dataclass(frozen=True)
class Row:
    """One row of the table. MACs: a multiply-add counts once, as the paper's FLOPs do."""

    op: str
    title: str
    latency_ms: float | None
    rel_ci: float | None
    macs: int
    parameters: int
    receptive_field: float


def count_macs(spec: OpSpec) -> int:
    """Multiply-adds of one operator's matrix work, each counted once (torch counts it as two operations)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    module = build_operator(spec).to("meta")
    inputs = [torch.empty(shape, device="meta") for shape in spec.input_shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops()) // 2


def count_parameters(spec: OpSpec) -> int:
    """Convolution weights; batch norm folds into them."""
    return sum(value.numel() for value in build_operator(spec).parameters() if value.dim() == 4)


def rows(latencies_ms: Mapping[OpSpec, Estimate]) -> list[Row]:
    """The table, with latencies where there are any."""
    table = []
    for spec in specs():
        known = latencies_ms.get(spec)
        table.append(
            Row(
                op=spec.op,
                title=OPERATORS[spec.op].title,
                latency_ms=known.value if known else None,
                rel_ci=known.rel_ci if known else None,
                macs=count_macs(spec),
                parameters=count_parameters(spec),
                receptive_field=float(receptive_field(spec.op)),
            )
        )
    return table
