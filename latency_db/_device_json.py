"""A kind of a device model as JSON values, and back. What comes back is checked: the file may be anyone's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast, get_args

from latency_db._device_features import feature_names, sizes
from latency_db._device_kind import CrossValidation, Form, Formula, KindModel
from latency_db.keys import ImageSize, OpSpec

_ROW = ("s", "c_in", "c_out", "image_height", "image_width", "batch", "branches")
_KEYS = ("op", "stride", "n", "inside", "outside", "ranges", "rows", "cross_validation")
LARGEST = 2**31 - 1
"""As many as a database holds in a whole number."""


def kind_to_json(kind: KindModel) -> dict[str, Any]:
    """JSON values only."""
    errors = kind.errors
    return {
        "op": kind.op,
        "stride": kind.stride,
        "n": kind.n,
        "inside": _formula_to_json(kind.inside),
        "outside": _formula_to_json(kind.outside),
        "ranges": {name: list(bounds) for name, bounds in kind.ranges.items()},
        "rows": [[*_row(spec), latency_ms] for spec, latency_ms in sorted(kind.rows.items())],
        "cross_validation": None
        if errors is None
        else {
            "folds": errors.folds,
            "n": errors.n,
            "median": errors.median,
            "mean": errors.mean,
            "half_width_95": errors.half_width_95,
        },
    }


def _formula_to_json(formula: Formula | None) -> dict[str, Any] | None:
    if formula is None:
        return None
    return {"form": formula.form, "intercept": formula.intercept, "coefficients": dict(formula.coefficients)}


def _row(spec: OpSpec) -> list[int]:
    return [spec.s, spec.c_in, spec.c_out, spec.image.height, spec.image.width, spec.batch, spec.branches]


def kind_from_json(document: object) -> KindModel:
    """Read what :func:`kind_to_json` wrote.

    Raises:
        ValueError: what is wrong.
    """
    found = mapping(document, "a kind", _KEYS)
    op, stride, n = text(found, "op"), whole(found, "stride", 1), whole(found, "n", 0)
    rows = _rows(found["rows"], op, stride)
    ranges = _ranges(mapping(found["ranges"], "ranges"))
    inside, outside = (_formula(found[name], op) for name in ("inside", "outside"))
    if inside is None or outside is None:
        if inside is not outside or not rows or ranges or n:
            raise ValueError(f"{op}: without formulas a kind has rows and no ranges")
    elif outside.form != "costs" or n < 1 or {*ranges} != {*_size_names(op)}:
        raise ValueError(f"{op}: outside is costs, n is not 0, and there is a range for {', '.join(_size_names(op))}")
    return KindModel(
        op=op,
        stride=stride,
        n=n,
        inside=inside,
        outside=outside,
        ranges=ranges,
        rows=rows,
        errors=_errors(found["cross_validation"]),
    )


def _formula(document: object, op: str) -> Formula | None:
    if document is None:
        return None
    found = mapping(document, "a formula", ("form", "intercept", "coefficients"))
    form, intercept = _form(found["form"]), number(found["intercept"], "intercept")
    coefficients = {
        name: number(value, f"coefficient {name}")
        for name, value in mapping(found["coefficients"], "coefficients").items()
    }
    unknown = sorted({*coefficients} - {*feature_names(op)})
    if unknown:
        raise ValueError(f"{op} has no feature {unknown[0]!r}")
    costs = (intercept, *coefficients.values())
    if form == "costs" and (min(costs) < 0 or not any(costs)):
        raise ValueError(f"{op}: a cost is negative, or there is none")
    return Formula(form=form, intercept=intercept, coefficients=coefficients)


def _size_names(op: str) -> tuple[str, ...]:
    return tuple(sizes(OpSpec(op, 1, 1, 1, 1, ImageSize(64, 64))))


def _form(value: object) -> Form:
    for form in get_args(Form):
        if value == form:
            return cast("Form", form)
    raise ValueError(f"the form {_shown(value)} is none of {', '.join(get_args(Form))}")


def _ranges(found: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    ranges = {}
    for name, bounds in found.items():
        if not isinstance(bounds, list) or len(bounds) != 2:
            raise ValueError(f"the range of {name} is not two numbers")
        least, most = (number(bound, f"the range of {name}") for bound in bounds)
        if not 0 <= least <= most:
            raise ValueError(f"the range of {name} is from {least} to {most}")
        ranges[name] = (least, most)
    return ranges


def _rows(found: object, op: str, stride: int) -> dict[OpSpec, float]:
    if not isinstance(found, list):
        raise ValueError("rows is not a list")
    rows: dict[OpSpec, float] = {}
    for row in found:
        if not isinstance(row, list) or len(row) != len(_ROW) + 1:
            raise ValueError(f"a row is not {', '.join(_ROW)} and a latency in ms")
        values = dict(zip(_ROW, row[:-1], strict=True))
        s, c_in, c_out, height, width, batch, branches = (whole(values, name, 1) for name in _ROW)
        spec = OpSpec(op, s, c_in, c_out, stride, ImageSize(height, width), batch, branches)
        latency_ms = number(row[-1], f"the latency of {spec.name}")
        if latency_ms <= 0 or spec in rows:
            raise ValueError(f"{spec.name} is there twice, or its latency is not positive")
        rows[spec] = latency_ms
    return rows


def _errors(found: object) -> CrossValidation | None:
    if found is None:
        return None
    values = mapping(found, "cross_validation", ("folds", "n", "median", "mean", "half_width_95"))
    median, mean, half_width = (number(values[name], name) for name in ("median", "mean", "half_width_95"))
    if min(median, mean, half_width) < 0:
        raise ValueError("cross_validation has a negative error")
    return CrossValidation(
        folds=whole(values, "folds", 2),
        n=whole(values, "n", 1),
        median=median,
        mean=mean,
        half_width_95=half_width,
    )


# What any JSON value is held to.


def mapping(value: object, what: str, keys: tuple[str, ...] | None = None) -> Mapping[str, object]:
    """The value, found to be an object; with exactly these keys where they are named.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    if keys is not None and {*value} != {*keys}:
        odd = sorted({*keys} - {*value}) or sorted({*value} - {*keys})
        raise ValueError(f"{what}: {', '.join(map(repr, odd))} {'is missing' if {*keys} - {*value} else 'is too much'}")
    return value


def text(found: Mapping[str, object], name: str) -> str:
    """The text of that name.

    Raises:
        ValueError: it is none.
    """
    value = found[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {_shown(value)}, not text")
    return value


def whole(found: Mapping[str, object], name: str, least: int) -> int:
    """The whole number of that name.

    Raises:
        ValueError: it is none, or below the least.
    """
    value = found[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
        raise ValueError(f"{name} is {_shown(value)}, not a whole number from {least} to {LARGEST}")
    return value


def number(value: object, what: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    raise ValueError(f"{what} is {_shown(value)}, not a finite number")


def _shown(value: object) -> str:
    """The beginning of a value: the file may hold a whole library in the place of a number."""
    text_ = repr(value)
    return text_ if len(text_) <= 40 else f"{text_[:40]}…"
