"""Operators of elastic width, out of the one definition in :mod:`latency_db.operators`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.keys import OpSpec
from latency_db.operators import build_operator
from searcher.elastic import ElasticConv, ElasticLeaves, ElasticNorm


def fit(x: Tensor, channels: int) -> Tensor:
    """(N, C, H, W) → (N, channels, H, W): the first channels, or zeros after the last."""
    missing = channels - x.shape[1]
    if missing == 0:
        return x
    return F.pad(x, (0, 0, 0, 0, 0, missing)) if missing > 0 else x[:, :channels]


class ElasticOperator(nn.Module):
    """An operator that takes any width up to its widest and emits any of ``widths``.

    The output width is an argument, so a call depends on nothing that was set before it: it can be checkpointed and
    run again. Without weights (a skip at stride 1) what comes in is cut or padded with zeros to that width. It is in
    eval mode, as every operator that is built.

    Args:
        spec: the operator at the widest it takes and emits.
        widths: the widths that it can emit.

    Raises:
        ValueError: ``spec`` does not emit the widest of ``widths``, or its operator cannot be elastic.
    """

    def __init__(self, spec: OpSpec, widths: Sequence[int]) -> None:
        super().__init__()
        if max(widths) != spec.c_out:
            raise ValueError(f"{spec.name}: it emits {spec.c_out} channels, but the widest of its widths {max(widths)}")
        self.spec = spec
        self.widths = frozenset(widths)
        leaves = ElasticLeaves(sorted(self.widths))
        self._width = leaves.width
        self.body = build_operator(replace(spec, c_in=spec.c_out) if _weightless(spec) else spec, leaves)
        self.eval()

    def forward(self, *inputs: Tensor, c_out: int) -> Tensor:
        """Run at the width of what comes in.

        Args:
            inputs: what the operator takes; (N, c_in, H, W) in a cell.
            c_out: one of the operator's widths.

        Returns:
            (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉).

        Raises:
            ValueError: no such width.
        """
        if c_out not in self.widths:
            raise ValueError(f"{self.spec.name} emits {sorted(self.widths)} channels, not {c_out}")
        self._width.channels = c_out
        return fit(self.body(*inputs), c_out)


def _weightless(spec: OpSpec) -> bool:
    return spec.op == "skip" and spec.stride == 1


def extract(elastic: ElasticOperator, c_in: int, c_out: int) -> nn.Module:
    """The plain operator that the elastic one is at these widths: a copy of its weights and of that width's norms.

    In the same mode, training or evaluation, and on the same device.

    Raises:
        ValueError: widths that the operator does not have.
    """
    spec = elastic.spec
    if c_in > spec.c_in or c_out not in elastic.widths:
        raise ValueError(
            f"{spec.name} takes up to {spec.c_in} channels and emits {sorted(elastic.widths)}, not {c_in} and {c_out}"
        )
    plain = build_operator(replace(spec, c_in=c_in, c_out=c_out))
    like = next(elastic.parameters(), None)
    if like is not None:
        plain.to(like.device)
    for name, leaf in elastic.body.named_modules():
        if isinstance(leaf, (ElasticConv, ElasticNorm)):
            leaf.copy_to(plain.get_submodule(name))  # type: ignore[arg-type]
    return plain.train(elastic.training)
