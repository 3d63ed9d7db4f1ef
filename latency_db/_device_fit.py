"""Fitting one kind of a device model. scikit-learn does the fitting; nothing of it stays in the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency_db._device_features import feature_names, features, sizes
from latency_db._device_kind import CrossValidation, Form, KindModel
from latency_db.keys import OpSpec

Array = NDArray[np.float64]
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
_COSTS = ("pixels", "bytes_in", "bytes_out", "bytes_weights", "macs", "c_in", "c_out")
_TILED_COSTS = tuple(f"macs_{side}{tile}" for side in "io" for tile in (32, 64, 128))


@dataclass(frozen=True)
class _Shape:
    """What a kind's model may look like: a form and the features in it."""

    form: Form
    features: tuple[str, ...]


SHAPES = (
    _Shape("power", _LINES),
    _Shape("power", (*_LINES, *_CURVES)),
    _Shape("power", (*_LINES, *_CURVES, *_STEPS)),
    _Shape("costs", (*_COSTS, *_TILED_COSTS)),
)
"""Simplest first. Which one a kind gets, cross-validation decides."""


@dataclass(frozen=True)
class _Fitted:
    form: Form
    intercept: float
    coefficients: Mapping[str, float]

    def relative_errors(self, specs: Sequence[OpSpec], latencies_ms: Array) -> Array:
        """|predicted / latency − 1|."""
        table = _table(specs, tuple(self.coefficients))
        values = self.intercept + table @ np.array(list(self.coefficients.values()))
        predicted = np.exp(values) if self.form == "power" else values
        errors: Array = np.abs(predicted / latencies_ms - 1)
        return errors


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
        return KindModel(op=op, stride=stride, form="rows", rows=apart, errors=_rows_errors(op, stride, apart))
    values = np.array([latencies_ms[spec] for spec in specs])
    fitted = _fit_best(specs, values, seed)
    found = [sizes(spec) for spec in specs]
    return KindModel(
        op=op,
        stride=stride,
        form=fitted.form,
        n=len(specs),
        intercept=fitted.intercept,
        coefficients=fitted.coefficients,
        ranges={name: (min(one[name] for one in found), max(one[name] for one in found)) for name in found[0]},
        rows=apart,
        errors=_cross_validated(specs, values, seed),
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


def _cross_validated(specs: Sequence[OpSpec], values: Array, seed: int) -> CrossValidation:
    """The errors of the whole procedure, the choice of the shape included, on operators it has not seen."""
    errors = np.empty(len(specs))
    for train, test in _folds(len(specs), seed):
        fitted = _fit_best([specs[k] for k in train], values[train], seed)
        errors[test] = fitted.relative_errors([specs[k] for k in test], values[test])
    return _summary(errors, FOLDS)


def _rows_errors(op: str, stride: int, rows: Mapping[OpSpec, float]) -> CrossValidation | None:
    """Each row told from the others, as an operator is that is none of them."""
    if len(rows) < 2:
        return None
    errors = []
    for spec, value in rows.items():
        others = {other: latency_ms for other, latency_ms in rows.items() if other != spec}
        errors.append(abs(KindModel(op=op, stride=stride, form="rows", rows=others).latency_ms(spec) / value - 1))
    return _summary(np.array(errors), len(rows))


def _summary(errors: Array, folds: int) -> CrossValidation:
    return CrossValidation(
        folds=folds,
        n=len(errors),
        median=_rounded(float(np.median(errors))),
        mean=_rounded(float(np.mean(errors))),
        half_width_95=_rounded(float(np.quantile(errors, 0.95))),
    )


def _fit_best(specs: Sequence[OpSpec], values: Array, seed: int) -> _Fitted:
    """The shape whose mean relative error in cross-validation is the least, fitted to all of these operators."""
    names = set(feature_names(specs[0].op))
    shapes = [_Shape(shape.form, tuple(name for name in shape.features if name in names)) for shape in SHAPES]
    tables = [_table(specs, shape.features) for shape in shapes]
    errors = [np.empty(len(specs)) for _ in shapes]
    for train, test in _folds(len(specs), seed):
        held_out = [specs[k] for k in test]
        for shape, table, found in zip(shapes, tables, errors, strict=True):
            found[test] = _fit_shape(shape, table[train], values[train]).relative_errors(held_out, values[test])
    best = int(np.argmin([np.mean(found) for found in errors]))
    return _fit_shape(shapes[best], tables[best], values)


def _folds(n: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(those to fit to, those to judge), each operator judged once."""
    from sklearn.model_selection import KFold

    return list(KFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(n)))


def _fit_shape(shape: _Shape, table: Array, values: Array) -> _Fitted:
    """Least squares of relative errors."""
    return _fit_power(shape, table, values) if shape.form == "power" else _fit_costs(shape, table, values)


def _fit_power(shape: _Shape, table: Array, values: Array) -> _Fitted:
    """Ridge on the logarithm of the latency; its penalty by leaving one out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(table)
    ridge = RidgeCV(PENALTIES).fit(scaler.transform(table), np.log(values))
    factors = ridge.coef_ / scaler.scale_
    return _fitted(shape, float(ridge.intercept_ - factors @ scaler.mean_), factors)


def _fit_costs(shape: _Shape, table: Array, values: Array) -> _Fitted:
    """No cost is negative, so that a larger operator is never predicted to be faster."""
    from sklearn.linear_model import LinearRegression

    # Over the latency, all that is to be met is 1, and what is missed is the relative error.
    relative = np.column_stack([np.ones(len(values)), table]) / values[:, None]
    scale = np.sqrt(np.mean(relative**2, axis=0))
    scale[scale == 0] = 1.0
    fitted = LinearRegression(fit_intercept=False, positive=True).fit(relative / scale, np.ones(len(values)))
    intercept, *factors = fitted.coef_ / scale
    return _fitted(shape, float(intercept), np.array(factors))


def _fitted(shape: _Shape, intercept: float, factors: Array) -> _Fitted:
    coefficients = {
        name: _rounded(float(factor)) for name, factor in zip(shape.features, factors, strict=True) if factor != 0
    }
    return _Fitted(shape.form, _rounded(intercept), coefficients)


def _rounded(value: float) -> float:
    """To the digits that a file is worth: the model in memory is the one in the file."""
    return float(f"{value:.{DIGITS}g}")


def _table(specs: Sequence[OpSpec], names: tuple[str, ...]) -> Array:
    """One row per operator, one column per feature."""
    rows = []
    for spec in specs:
        found = dict(features(spec))
        rows.append([found[name] for name in names])
    return np.array(rows).reshape(len(specs), len(names))
