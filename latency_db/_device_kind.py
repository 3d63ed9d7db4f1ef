"""One kind of a device model: an operator at a stride, its coefficients, and where they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from latency_db._device_features import features, sizes, work
from latency_db.keys import OpSpec

Form = Literal["power", "costs", "rows"]


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """Relative errors |predicted / measured − 1| of operators that the fit had not seen.

    Attributes:
        folds: K.
        n: operators that were judged so.
        median: of the errors.
        mean: of the errors.
        half_width_95: 95% of the errors are no larger.
    """

    folds: int
    n: int
    median: float
    mean: float
    half_width_95: float


@dataclass(frozen=True, kw_only=True)
class KindModel:
    """The latency of one operator at one stride.

    Attributes:
        op: the operator's name.
        stride: of the operator.
        form: ``power``: ln(latency / ms) = b₀ + Σ bᵢ xᵢ; ``costs``: latency / ms = b₀ + Σ bᵢ xᵢ, no b negative;
            ``rows``: nothing but ``rows``.
        n: operators that the coefficients were fitted to; 0 for ``rows``.
        intercept: b₀.
        coefficients: bᵢ by the name of the feature xᵢ.
        ranges: smallest and largest value of every size among the operators of the fit.
        rows: operators whose latencies in ms are repeated as they are: too few of their size for a fit.
        errors: None where there was nothing to leave out.
    """

    op: str
    stride: int
    form: Form
    n: int = 0
    intercept: float = 0.0
    coefficients: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rows: Mapping[OpSpec, float] = field(default_factory=dict)
    errors: CrossValidation | None = None

    def __post_init__(self) -> None:
        for name in ("coefficients", "ranges", "rows"):
            # A dict that was handed in can change later, behind our back.
            object.__setattr__(self, name, dict(getattr(self, name)))

    @property
    def name(self) -> str:
        """``conv_x2``, or ``conv_x2 /2`` at stride 2."""
        return self.op if self.stride == 1 else f"{self.op} /{self.stride}"

    def refusal(self, spec: OpSpec) -> str | None:
        """Which size of the operator is outside of what was fitted; None where none is."""
        if spec in self.rows:
            return None
        found = sizes(spec)
        if self.form == "rows":
            for name, value in found.items():
                known = sorted({sizes(row)[name] for row in self.rows})
                if value not in known:
                    return f"{name} {value:.10g} is none of the fitted {', '.join(f'{other:.10g}' for other in known)}"
            return f"{', '.join(found)}: each was fitted, but not together"
        for name, (least, most) in self.ranges.items():
            if not least <= found[name] <= most:
                return f"{name} {found[name]:.10g} is outside of the fitted {least:.10g} to {most:.10g}"
        return None

    def latency_ms(self, spec: OpSpec) -> float:
        """The model's value, inside the range or not; not a positive finite number where the form gives none.

        A row's own latency for that row. The same row at another image size, and whatever there is no form for: the
        latency of the row that is nearest in pixels and channels, times the ratio of the work (multiply-adds, or bytes
        where there are none).
        """
        if spec in self.rows:
            return self.rows[spec]
        if self.form == "rows" or (self.refusal(spec) is not None and self._resized_row(spec)):
            nearest = min(self.rows, key=lambda row: (_distance(spec, row), row))
            return self.rows[nearest] * work(spec) / work(nearest)
        values = dict(features(spec))
        value = self.intercept + sum(factor * values[name] for name, factor in self.coefficients.items())
        if self.form == "costs":
            return value
        try:
            return math.exp(value)
        except OverflowError:
            return math.inf

    def _resized_row(self, spec: OpSpec) -> bool:
        return any((row.s, row.c_in, row.c_out) == (spec.s, spec.c_in, spec.c_out) for row in self.rows)


def _distance(spec: OpSpec, row: OpSpec) -> float:
    """How far apart two operators are: Σ |log2 of the ratio| over pixels, channels in and out."""
    one, other = sizes(spec), sizes(row)
    return sum(abs(math.log2(one[name] / other[name])) for name in ("pixels", "c_in", "c_out"))
