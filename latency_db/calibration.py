"""What an operator costs inside a network, as against timed alone. Plain data.

An operator timed alone pays for things that it does not pay in place, and the other way round. The model of a network's
latency, in units of the reference workload, is

    ratio = Σ_operators g · (1 + a_op) · max(r − k · n, r / 10)  +  Σ_edges p(op, stride, next_op, next_stride, s)

with r the ratio of the operator timed alone and n how many million numbers cross its boundary, in and out. Runtimes
keep feature maps in a layout of their own, blocks of channels or channels last: an operator timed alone converts its
inputs to it and its outputs back, which the same operator between others does not. It stays a sum over operators plus
one term per adjacent pair that depends on nothing but the two operators' kinds and strides and the scale of the map
between them, so that its expectation over random architectures is exact and differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from backends.samples import Estimate
from latency_db.keys import OpSpec

Edges = Sequence[tuple[int, int]]

LEAST_SHARE = 0.1
"""What is left of an operator's own ratio at least, however much crosses its boundary: a map that some operator leaves
in the layout that it came in was never converted."""


class Term(NamedTuple):
    """One number of a calibration, as a row to store. What a term does not depend on is None.

    Attributes:
        term: ``global`` multiplies every operator; ``boundary`` is taken off per million numbers that cross an
            operator's boundary, before that; ``op`` multiplies the operators of one name further; ``pair`` is added for
            every edge that matches.
        value: a factor (no unit), or for ``boundary`` and ``pair`` a ratio to the reference workload.
        op: the operator, or the producer of the pair.
        next_op: the consumer of the pair.
        stride: the producer's stride.
        next_stride: the consumer's stride.
        s: the downsample rate of the feature map between them.
    """

    term: Literal["global", "boundary", "op", "pair"]
    value: float
    op: str | None = None
    next_op: str | None = None
    stride: int | None = None
    next_stride: int | None = None
    s: int | None = None


@dataclass(frozen=True, order=True)
class PairKey:
    """All that a pair's term may depend on. ``s`` is the downsample rate of the producer's output."""

    op: str
    stride: int
    next_op: str
    next_stride: int
    s: int

    @classmethod
    def of(cls, spec: OpSpec, next_spec: OpSpec) -> PairKey:
        """The key of a producer and its consumer."""
        return cls(spec.op, spec.stride, next_spec.op, next_spec.stride, spec.s * spec.stride)


def boundary_millions(spec: OpSpec) -> float:
    """How many million numbers the operator takes and gives."""
    return sum(math.prod(shape) for shape in (*spec.input_shapes, spec.output_shape)) / 1e6


def without_boundary(spec: OpSpec, ratio: float, boundary_ratio: float) -> float:
    """max(r − k · n, r / 10): the operator's ratio without the conversions that it makes only when it is timed alone.

    Args:
        spec: the operator.
        ratio: r, timed alone.
        boundary_ratio: k, per million numbers.
    """
    return max(ratio - boundary_ratio * boundary_millions(spec), LEAST_SHARE * ratio)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From operators timed alone to networks.

    Attributes:
        method: ``identity``, ``global``, ``boundary``, ``op`` or ``pair``: the family that was chosen.
        cv_error: mean |predicted/measured − 1| in cross-validation, of networks that the fit had not seen; the best of
            the models tried, which had: a little smaller than of networks of another draw. NaN where nothing was
            fitted.
        networks: how many networks it was learnt from.
        global_scale: g, multiplies every operator.
        boundary_ratio: k, taken off per million numbers that cross an operator's boundary, as a ratio.
        op_scales: 1 + a_op, multiplies the operators of that name on top of g. A name that is not in it has g alone.
        pair_terms: p, added per edge, as a ratio. A pair that is not in it adds nothing.
    """

    method: str
    cv_error: float
    networks: int
    global_scale: float = 1.0
    boundary_ratio: float = 0.0
    op_scales: Mapping[str, float] = field(default_factory=dict)
    pair_terms: Mapping[PairKey, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A dict that was handed in can change later, behind our back.
        object.__setattr__(self, "op_scales", dict(self.op_scales))
        object.__setattr__(self, "pair_terms", dict(self.pair_terms))

    @classmethod
    def identity(cls) -> Calibration:
        """No calibration: a network is the sum of its operators."""
        return cls(method="identity", cv_error=math.nan, networks=0)

    def operator_ratio(self, spec: OpSpec, ratio: float) -> float:
        """g · (1 + a_op) · max(r − k · n, r / 10): what the operator adds to a network."""
        return self._scale(spec) * without_boundary(spec, ratio, self.boundary_ratio)

    def operator_estimate(self, spec: OpSpec, alone: Estimate) -> Estimate:
        """The same with its uncertainty: nothing is known of what k itself is uncertain by, so r's is all there is."""
        left = without_boundary(spec, alone.value, self.boundary_ratio)
        # Where the floor holds, what is left moves with r by a tenth; elsewhere as r itself does.
        slope = LEAST_SHARE if left == LEAST_SHARE * alone.value else 1.0
        return replace(alone, value=self._scale(spec) * left, rel_ci=slope * alone.value / left * alone.rel_ci)

    def _scale(self, spec: OpSpec) -> float:
        return self.global_scale * self.op_scales.get(spec.op, 1.0)

    def pair_ratio(self, spec: OpSpec, next_spec: OpSpec) -> float:
        """What the edge from ``spec`` to ``next_spec`` adds to a network, as a ratio; 0 for a pair never seen."""
        return self.pair_terms.get(PairKey.of(spec, next_spec), 0.0)

    def predict(self, specs: Sequence[OpSpec], edges: Edges, ratios: Mapping[OpSpec, float]) -> float:
        """The network's ratio to the reference workload.

        Args:
            specs: its operators, each as often as it runs.
            edges: (producer, consumer) as indices into ``specs``.
            ratios: every operator's ratio, timed alone.

        Raises:
            ValueError: an operator has no ratio.
        """
        operators = sum(self.operator_ratio(spec, ratio_of(spec, ratios)) for spec in specs)
        return operators + sum(self.pair_ratio(specs[first], specs[second]) for first, second in edges)

    def to_terms(self) -> tuple[Term, ...]:
        """All its numbers as rows, in a fixed order."""
        return (
            Term("global", self.global_scale),
            *([Term("boundary", self.boundary_ratio)] if self.boundary_ratio else []),
            *(Term("op", value, op=op) for op, value in sorted(self.op_scales.items())),
            *(
                Term("pair", value, key.op, key.next_op, key.stride, key.next_stride, key.s)
                for key, value in sorted(self.pair_terms.items())
            ),
        )

    @classmethod
    def from_terms(
        cls, terms: Iterable[Term], *, method: str, cv_error: float = math.nan, networks: int = 0
    ) -> Calibration:
        """Read what :meth:`to_terms` wrote; plain tuples of the same fields will do.

        Raises:
            ValueError: a row that is no term, or is there twice.
        """
        scales: list[float] = []
        boundary: list[float] = []
        op_scales: dict[str, float] = {}
        pair_terms: dict[PairKey, float] = {}
        for row in terms:
            match tuple(row):
                case ("global", float(value), None, None, None, None, None) if not scales:
                    scales.append(value)
                case ("boundary", float(value), None, None, None, None, None) if not boundary:
                    boundary.append(value)
                case ("op", float(value), str(op), None, None, None, None) if op not in op_scales:
                    op_scales[op] = value
                case ("pair", float(value), str(op), str(next_op), int(stride), int(next_stride), int(s)) if (
                    key := PairKey(op, stride, next_op, next_stride, s)
                ) not in pair_terms:
                    pair_terms[key] = value
                case _:
                    raise ValueError(f"not a term of a calibration, or twice the same: {tuple(row)}")
        return cls(
            method=method,
            cv_error=cv_error,
            networks=networks,
            global_scale=scales[0] if scales else 1.0,
            boundary_ratio=boundary[0] if boundary else 0.0,
            op_scales=op_scales,
            pair_terms=pair_terms,
        )


def ratio_of(spec: OpSpec, ratios: Mapping[OpSpec, float]) -> float:
    """The operator's ratio, timed alone.

    Raises:
        ValueError: there is none, or it is no latency.
    """
    ratio = ratios.get(spec)
    if ratio is None:
        raise ValueError(f"there is no latency for {spec.name}")
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"the ratio of {spec.name} must be positive and finite, not {ratio}")
    return ratio
