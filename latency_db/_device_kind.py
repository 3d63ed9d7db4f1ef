"""One kind of a device model: an operator at a stride, its coefficients, and where they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from latency_db._device_features import features, sizes, work
from latency_db.keys import OpSpec

Form = Literal["power", "costs"]


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
class Formula:
    """``power``: ln(latency / ms) = b₀ + Σ bᵢ xᵢ. ``costs``: latency / ms = b₀ + Σ bᵢ xᵢ, no b negative.

    Attributes:
        form: which of the two.
        intercept: b₀.
        coefficients: bᵢ by the name of the feature xᵢ.
    """

    form: Form
    intercept: float
    coefficients: Mapping[str, float]

    def __post_init__(self) -> None:
        # A dict that was handed in can change later, behind our back.
        object.__setattr__(self, "coefficients", dict(self.coefficients))

    def latency_ms(self, spec: OpSpec) -> float:
        """What it says of an operator; ``inf`` where that is more than a number holds."""
        values = dict(features(spec))
        value = self.intercept + sum(factor * values[name] for name, factor in self.coefficients.items())
        if self.form == "costs":
            return value
        try:
            return math.exp(value)
        except OverflowError:
            return math.inf


@dataclass(frozen=True, kw_only=True)
class KindModel:
    """The latency of one operator at one stride.

    Attributes:
        op: the operator's name.
        stride: of the operator.
        n: operators that the formulas were fitted to; 0 where there are none.
        inside: the formula within the ranges; None where there are only rows.
        outside: the formula beyond them, of the form ``costs``: it goes on growing as the operator does. None likewise.
        ranges: smallest and largest value of every size among the operators of the fit.
        rows: operators whose latencies in ms are repeated as they are: too few of their size for a fit.
        errors: None where there was nothing to leave out.
    """

    op: str
    stride: int
    n: int = 0
    inside: Formula | None = None
    outside: Formula | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rows: Mapping[OpSpec, float] = field(default_factory=dict)
    errors: CrossValidation | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranges", dict(self.ranges))
        object.__setattr__(self, "rows", dict(self.rows))

    @property
    def name(self) -> str:
        """``conv_x2``, or ``conv_x2 /2`` at stride 2."""
        return self.op if self.stride == 1 else f"{self.op} /{self.stride}"

    @property
    def form(self) -> str:
        """The form within the ranges; ``rows`` where there are only rows."""
        return "rows" if self.inside is None else self.inside.form

    def refusal(self, spec: OpSpec) -> str | None:
        """Which size of the operator is outside of what was fitted; None where none is."""
        if spec in self.rows:
            return None
        found = sizes(spec)
        if self.inside is None:
            return self._no_row(found)
        for name, (least, most) in self.ranges.items():
            if not least <= found[name] <= most:
                return f"{name} {found[name]:.10g} is outside of the fitted {least:.10g} to {most:.10g}"
        return None

    def _no_row(self, found: Mapping[str, float]) -> str:
        for name, value in found.items():
            known = sorted({sizes(row)[name] for row in self.rows})
            if value not in known:
                return f"{name} {value:.10g} is none of the fitted {', '.join(f'{other:.10g}' for other in known)}"
        return f"{', '.join(found)}: each is one of the fitted, but not together"

    def latency_ms(self, spec: OpSpec) -> float:
        """The model's value, within the ranges or not.

        A row's own latency for that row. A row at another image size, and whatever there is no formula for, is the row
        that is nearest in pixels and channels, times the ratio of the work (multiply-adds, or bytes where there are
        none).
        """
        if spec in self.rows:
            return self.rows[spec]
        if self.inside is not None and self.refusal(spec) is None:
            return self.inside.latency_ms(spec)
        if self.outside is not None and not self._is_resized_row(spec):
            return self.outside.latency_ms(spec)
        nearest = min(self.rows, key=lambda row: (_distance(spec, row), row))
        return self.rows[nearest] * work(spec) / work(nearest)

    def _is_resized_row(self, spec: OpSpec) -> bool:
        return any((row.s, row.c_in, row.c_out) == (spec.s, spec.c_in, spec.c_out) for row in self.rows)


def _distance(spec: OpSpec, row: OpSpec) -> float:
    """How far apart two operators are: Σ |log2 of the ratio| over pixels, channels in and out."""
    one, other = sizes(spec), sizes(row)
    return sum(abs(math.log2(one[name] / other[name])) for name in ("pixels", "c_in", "c_out"))
