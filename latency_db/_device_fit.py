"""Fitting one kind of a device model. scikit-learn does the fitting; nothing of it stays in the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_db._device_features import features, sizes
from latency_db._device_kind import CrossValidation, Form, Formula, KindModel
from latency_db.keys import OpSpec

Array = NDArray[np.float64]
Index = NDArray[np.intp]
FEW = 12
"""Below so many operators of a kind no coefficient is fitted: they are repeated as they are."""
SPARSE = 4
"""Feature maps of a size that fewer operators have stretch no range, where all other operators' maps are smaller, or
all are larger: a network's stem is no cell."""
FOLDS = 5
PENALTIES = np.logspace(-5, 1, 13)
DIGITS = 7

_LINES = ("p", "i", "o")
_CURVES = ("p*p", "p*i", "p*o", "i*i", "i*o", "o*o")
_STEPS = ("i32", "i64", "i128", "o32", "o64", "o128", "p*o32", "p*o64", "p*o128")
_TILED = tuple(f"macs_{side}{tile}" for side in "io" for tile in (32, 64, 128))


@dataclass(frozen=True)
class _Shape:
    """What a formula may look like: a form and the features in it."""

    form: Form
    features: tuple[str, ...]


COSTS = _Shape("costs", ("bytes_in", "bytes_out", "c_in", "c_out", "macs", *_TILED))
"""What is moved, what is computed, and what goes with the channels alone. Also what answers outside of the ranges:
fitted without a scale it is wrong there by some percent, where curves through logarithms are wrong by factors."""
SHAPES = (
    _Shape("power", _LINES),
    _Shape("power", (*_LINES, *_CURVES)),
    _Shape("power", (*_LINES, *_CURVES, *_STEPS)),
    COSTS,
)
"""Which one a kind gets, cross-validation decides; the first of equals."""


@dataclass(frozen=True)
class _Data:
    """Operators as a table.

    Attributes:
        names: of the columns.
        table: one row per operator, one column per feature.
        latencies_ms: of the operators.
    """

    names: tuple[str, ...]
    table: Array
    latencies_ms: Array

    @classmethod
    def of(cls, latencies_ms: Mapping[OpSpec, float]) -> _Data:
        found = [features(spec) for spec in latencies_ms]
        return cls(
            names=tuple(feature.name for feature in found[0]),
            table=np.array([[feature.value for feature in row] for row in found]),
            latencies_ms=np.array(list(latencies_ms.values())),
        )

    def rows(self, index: Index) -> _Data:
        return _Data(self.names, self.table[index], self.latencies_ms[index])

    def columns(self, names: Iterable[str]) -> Array:
        found: Array = self.table[:, [self.names.index(name) for name in names]]
        return found

    def folds(self, seed: int) -> list[tuple[Index, Index]]:
        """(those to fit to, those to judge), each operator judged once."""
        from sklearn.model_selection import KFold

        return list(KFold(FOLDS, shuffle=True, random_state=seed).split(self.table))

    def errors(self, formula: Formula) -> Array:
        """|predicted / latency − 1|."""
        factors = np.array(list(formula.coefficients.values()))
        values = formula.intercept + self.columns(formula.coefficients) @ factors
        predicted = np.exp(values) if formula.form == "power" else values
        found: Array = np.abs(predicted / self.latencies_ms - 1)
        return found


def fit_kind(op: str, stride: int, latencies_ms: Mapping[OpSpec, float], seed: int) -> KindModel:
    """The model of one kind.

    Args:
        op: the operator's name.
        stride: of all of them.
        latencies_ms: at least one, in the operators' order.
        seed: of the folds.
    """
    specs = _alike(list(latencies_ms))
    apart = {spec: value for spec, value in latencies_ms.items() if spec not in set(specs)}
    if not specs:
        return KindModel(op=op, stride=stride, rows=apart, errors=_rows_errors(op, stride, apart))
    data = _Data.of({spec: latencies_ms[spec] for spec in specs})
    found = [sizes(spec) for spec in specs]
    return KindModel(
        op=op,
        stride=stride,
        n=len(specs),
        inside=_fit_best(data, seed),
        outside=_fit_shape(COSTS, data),
        ranges={name: (min(one[name] for one in found), max(one[name] for one in found)) for name in found[0]},
        rows=apart,
        errors=_cross_validated(data, seed),
    )


def _alike(specs: Sequence[OpSpec]) -> list[OpSpec]:
    """The operators that one fit can stand for; none where there are too few."""
    pixels = {spec: sizes(spec)["pixels"] for spec in specs}
    counts = Counter(pixels.values())
    common = [size for size, count in counts.items() if count >= SPARSE]
    core = [spec for spec in specs if common and min(common) <= pixels[spec] <= max(common)]
    for chosen in (core, list(specs)):
        if len(chosen) >= FEW:
            return chosen
    return []


def _cross_validated(data: _Data, seed: int) -> CrossValidation:
    """The errors of the whole procedure, the choice of the shape included, on operators it has not seen."""
    errors = np.empty(len(data.table))
    for train, test in data.folds(seed):
        errors[test] = data.rows(test).errors(_fit_best(data.rows(train), seed))
    return _summary(errors, FOLDS)


def _rows_errors(op: str, stride: int, rows: Mapping[OpSpec, float]) -> CrossValidation | None:
    """Each row told from the others, as an operator is that is none of them."""
    if len(rows) < 2:
        return None
    errors = []
    for spec, value in rows.items():
        others = {other: latency_ms for other, latency_ms in rows.items() if other != spec}
        errors.append(abs(KindModel(op=op, stride=stride, rows=others).latency_ms(spec) / value - 1))
    return _summary(np.array(errors), len(rows))


def _summary(errors: Array, folds: int) -> CrossValidation:
    return CrossValidation(
        folds=folds,
        n=len(errors),
        median=_rounded(float(np.median(errors))),
        mean=_rounded(float(np.mean(errors))),
        half_width_95=_rounded(float(np.quantile(errors, 0.95))),
    )


def _fit_best(data: _Data, seed: int) -> Formula:
    """The shape whose mean relative error in cross-validation is the least, fitted to all of these operators."""
    errors = np.empty((len(SHAPES), len(data.table)))
    for train, test in data.folds(seed):
        seen, unseen = data.rows(train), data.rows(test)
        for index, shape in enumerate(SHAPES):
            errors[index, test] = unseen.errors(_fit_shape(shape, seen))
    return _fit_shape(SHAPES[int(np.argmin(errors.mean(axis=1)))], data)


def _fit_shape(shape: _Shape, data: _Data) -> Formula:
    """Least squares of relative errors, over those features of the shape that the operators have."""
    names = tuple(name for name in shape.features if name in data.names)
    fit = _fit_power if shape.form == "power" else _fit_costs
    intercept, factors = fit(data.columns(names), data.latencies_ms)
    coefficients = {name: _rounded(factor) for name, factor in zip(names, factors, strict=True) if factor != 0}
    return Formula(form=shape.form, intercept=_rounded(intercept), coefficients=coefficients)


def _fit_power(table: Array, latencies_ms: Array) -> tuple[float, Array]:
    """Ridge on the logarithm of the latency; its penalty by leaving one out."""
    from sklearn.linear_model import RidgeCV

    # In units of its own spread, so that one penalty suits all of them.
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale[scale == 0] = 1.0
    ridge = RidgeCV(PENALTIES).fit((table - mean) / scale, np.log(latencies_ms))
    factors = ridge.coef_ / scale
    return float(ridge.intercept_ - factors @ mean), factors


def _fit_costs(table: Array, latencies_ms: Array) -> tuple[float, Array]:
    """No cost is negative, so that an operator which is larger in everything is never predicted to be faster."""
    from sklearn.linear_model import LinearRegression

    # Over the latency, all that is to be met is 1, and what is missed is the relative error.
    relative = np.column_stack([np.ones(len(table)), table]) / latencies_ms[:, None]
    scale = np.sqrt(np.mean(relative**2, axis=0))
    scale[scale == 0] = 1.0
    fitted = LinearRegression(fit_intercept=False, positive=True).fit(relative / scale, np.ones(len(table)))
    factors = fitted.coef_ / scale
    return float(factors[0]), factors[1:]


def _rounded(value: float) -> float:
    """To the digits that a file is worth: the model in memory is the one in the file."""
    return float(f"{value:.{DIGITS}g}")
