"""What an operator costs inside a network, learnt from networks that are then never judged. Plain data and numpy.

An operator timed alone pays for things that it does not pay in place, and the other way round. The model of a network's
latency, in units of the reference workload, is

    ratio = Σ_operators g · (1 + a_op) · r  +  Σ_edges p(op, stride, next_op, next_stride, s)

with r the ratio of the operator timed alone. It stays a sum over operators plus one term per adjacent pair that depends
on nothing but the two operators' kinds and strides and the scale of the map between them, so that its expectation over
random architectures is exact and differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latency_db.keys import OpSpec

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Edges = Sequence[tuple[int, int]]

Family = Literal["identity", "global", "op", "pair"]
FEW = 8
"""Below so many networks nothing beyond the global scale is tried."""
FOLDS = 5
REPEATS = 5
OPERATOR_PENALTIES = np.logspace(-3, 1, 9)
PAIR_PENALTIES = np.logspace(-3, 1, 5)
HUBER = 1.345
"""Residuals beyond so many standard deviations lose weight: 95% efficient where the noise is normal."""
ITERATIONS = 4
SMALLEST_SIGMA = 1e-4
"""A relative residual of 0.01% is as good as none: without a floor, exact data would leave no scale to judge by."""


class Term(NamedTuple):
    """One number of a calibration, as a row to store. What a term does not depend on is None.

    Attributes:
        term: ``global`` multiplies every operator; ``op`` multiplies the operators of one name further; ``pair`` is
            added for every edge that matches.
        value: a factor (no unit), or for ``pair`` a ratio to the reference workload.
        op: the operator, or the producer of the pair.
        next_op: the consumer of the pair.
        stride: the producer's stride.
        next_stride: the consumer's stride.
        s: the downsample rate of the feature map between them.
    """

    term: Literal["global", "op", "pair"]
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


@dataclass(frozen=True)
class NetworkSample:
    """A network that was measured to learn from.

    Attributes:
        specs: its operators, each as often as it runs.
        edges: (producer, consumer) as indices into ``specs``.
        ratio: its measured latency over the reference workload's.
    """

    specs: tuple[OpSpec, ...]
    edges: tuple[tuple[int, int], ...]
    ratio: float

    def __post_init__(self) -> None:
        if not self.specs:
            raise ValueError("a network has at least one operator")
        if not (math.isfinite(self.ratio) and self.ratio > 0):
            raise ValueError(f"a network's ratio is positive and finite, not {self.ratio}")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From operators timed alone to networks.

    Attributes:
        method: ``identity``, ``global``, ``op`` or ``pair``: the family that was chosen.
        cv_error: mean |predicted/measured − 1| in cross-validation, of networks that the fit had not seen. NaN where
            nothing was fitted.
        networks: how many networks it was learnt from.
        global_scale: g, multiplies every operator.
        op_scales: 1 + a_op, multiplies the operators of that name on top of g. A name that is not in it has g alone.
        pair_terms: p, added per edge, as a ratio. A pair that is not in it adds nothing.
    """

    method: str
    cv_error: float
    networks: int
    global_scale: float = 1.0
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
        """g · (1 + a_op) · r: what the operator adds to a network."""
        return self.global_scale * self.op_scales.get(spec.op, 1.0) * ratio

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
        operators = sum(self.operator_ratio(spec, _ratio_of(spec, ratios)) for spec in specs)
        return operators + sum(self.pair_ratio(specs[first], specs[second]) for first, second in edges)

    def to_terms(self) -> tuple[Term, ...]:
        """All its numbers as rows, in a fixed order."""
        return (
            Term("global", self.global_scale),
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
        op_scales: dict[str, float] = {}
        pair_terms: dict[PairKey, float] = {}
        for row in terms:
            match tuple(row):
                case ("global", float(value), None, None, None, None, None) if not scales:
                    scales.append(value)
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
            op_scales=op_scales,
            pair_terms=pair_terms,
        )


def fit(
    samples: Sequence[NetworkSample],
    operator_ratio: Mapping[OpSpec, float],
    *,
    seed: int = 0,
    family: Family | None = None,
) -> Calibration:
    """Learn a calibration from measured networks. Networks that will be judged must not be among them.

    Four families, each with all of the one before it: ``identity``, one ``global`` scale, a scale per ``op`` shrunk to
    the global one, a term per ``pair`` shrunk to 0. Residuals are relative, (predicted − measured) / measured, with
    Huber's weights, so that one wild network does not bend the fit. The penalties come from a grid by repeated K-fold
    cross-validation, and then the simplest family is taken whose errors, network by network, exceed the best one's by
    no more than one standard error of the difference: terms that do not pay are noise learnt by heart. With fewer than
    eight networks nothing beyond the global scale is tried,
    with one alone nothing at all.

    Args:
        samples: the networks to learn from.
        operator_ratio: the ratio of every operator in them, timed alone.
        seed: of the folds; the same input always gives the same calibration.
        family: take this one whatever its error, as an ablation does; only its penalties are chosen.

    Raises:
        ValueError: no samples, an operator without a positive ratio, or too few networks for the family asked for.
    """
    problem = _Problem.of(samples, operator_ratio)
    plain = problem.total - 1
    if problem.n == 1 or family == "identity":
        return Calibration(method="identity", cv_error=float(np.mean(np.abs(plain))), networks=problem.n)
    cells = [cell for cell in _grid(problem) if family is None or _FAMILIES[cell.family] == family]
    if not cells:
        raise ValueError(f"{problem.n} networks are too few for a calibration by {family}")
    errors = _cross_validate(problem, cells, seed)
    whole = _solve(problem, np.arange(problem.n), cells)
    usable = _usable(problem, cells, whole)
    chosen: int | None
    if family is not None:
        chosen = int(np.argmin(np.where(usable, errors.mean(axis=1), np.inf)))
    else:
        chosen = _choose(cells, plain, errors, usable)
    if chosen is None:
        return Calibration(method="identity", cv_error=float(np.mean(np.abs(plain))), networks=problem.n)
    return _calibration(problem, cells[chosen], whole, chosen, cv_error=float(np.mean(errors[chosen])))


class _Cell(NamedTuple):
    """One model to try: the family, and the variance that the terms are allowed, 1/λ (0: no such terms)."""

    family: int
    op_variance: float
    pair_variance: float


_FAMILIES: tuple[Family, ...] = ("identity", "global", "op", "pair")


@dataclass(frozen=True)
class _Problem:
    """The networks as a linear system: everything divided by the measured ratio, so that the target is 1 throughout.

    Attributes:
        total: (n,) the plain sum of the network's operators.
        by_op: (n, kinds) the same, kind by kind.
        by_pair: (n, pairs) how often each pair occurs, in units of ``unit``.
        unit: the ratio of a typical operator. It makes a penalty on a pair's term mean the same as one on a scale.
    """

    total: Array
    by_op: Array
    by_pair: Array
    ops: tuple[str, ...]
    pairs: tuple[PairKey, ...]
    unit: float

    @property
    def n(self) -> int:
        return len(self.total)

    @classmethod
    def of(cls, samples: Sequence[NetworkSample], ratios: Mapping[OpSpec, float]) -> _Problem:
        if not samples:
            raise ValueError("there are no networks to learn a calibration from")
        keys = [[PairKey.of(sample.specs[a], sample.specs[b]) for a, b in sample.edges] for sample in samples]
        ops = tuple(sorted({spec.op for sample in samples for spec in sample.specs}))
        pairs = tuple(sorted({key for row in keys for key in row}))
        op_index = {op: index for index, op in enumerate(ops)}
        pair_index = {pair: index for index, pair in enumerate(pairs)}
        by_op = np.zeros((len(samples), len(ops)))
        by_pair = np.zeros((len(samples), len(pairs)))
        for row, (sample, row_keys) in enumerate(zip(samples, keys, strict=True)):
            for spec in sample.specs:
                by_op[row, op_index[spec.op]] += _ratio_of(spec, ratios)
            for key in row_keys:
                by_pair[row, pair_index[key]] += 1
        measured = np.array([sample.ratio for sample in samples])[:, None]
        unit = float(np.median([sample.ratio / len(sample.specs) for sample in samples]))
        by_op /= measured
        return cls(by_op.sum(axis=1), by_op, by_pair * unit / measured, ops, pairs, unit)


def _ratio_of(spec: OpSpec, ratios: Mapping[OpSpec, float]) -> float:
    ratio = ratios.get(spec)
    if ratio is None:
        raise ValueError(f"there is no latency for {spec.name}")
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"the ratio of {spec.name} must be positive and finite, not {ratio}")
    return ratio


def _grid(problem: _Problem) -> list[_Cell]:
    cells = [_Cell(1, 0.0, 0.0)]
    if problem.n < FEW:
        return cells
    cells += [_Cell(2, 1 / penalty, 0.0) for penalty in OPERATOR_PENALTIES]
    if problem.pairs:
        cells += [_Cell(3, 1 / own, 1 / pair) for own in OPERATOR_PENALTIES[::2] for pair in PAIR_PENALTIES]
    return cells


class _Solution(NamedTuple):
    """Per cell the global scale, and the dual variables: terms = variance · designᵀ · dual."""

    scale: Array
    dual: Array


def _gram(problem: _Problem, cells: Sequence[_Cell], rows: Index, columns: Index) -> Array:
    """(cells, rows, columns): the covariance that the shrunk terms give to the networks' residuals."""
    by_op = problem.by_op[rows] @ problem.by_op[columns].T
    by_pair = problem.by_pair[rows] @ problem.by_pair[columns].T
    op_variance = np.array([cell.op_variance for cell in cells])[:, None, None]
    pair_variance = np.array([cell.pair_variance for cell in cells])[:, None, None]
    covariance: Array = op_variance * by_op + pair_variance * by_pair
    return covariance


def _solve(problem: _Problem, rows: Index, cells: Sequence[_Cell]) -> _Solution:
    """Ridge with a free global scale, reweighted after Huber, for all cells at once.

    In the dual there is one unknown per network, however many pairs there are. With K the covariance of the terms plus
    diag(1/weight), the free scale is the generalised least-squares one, g = tᵀK⁻¹1 / tᵀK⁻¹t, and dual = K⁻¹(1 − g·t).
    """
    total = problem.total[rows]
    covariance = _gram(problem, cells, rows, rows)
    # The start is the median: from least squares, the richer models would already have bent towards a wild network.
    weight = np.broadcast_to(_huber(1 - np.median(1 / total) * total[None, :]), (len(cells), len(rows)))
    right = np.broadcast_to(np.stack([total, np.ones_like(total)], axis=1), (len(cells), len(rows), 2))
    for _ in range(ITERATIONS):
        kernel = covariance.copy()
        diagonal = np.arange(len(rows))
        kernel[:, diagonal, diagonal] += 1 / weight
        solved = np.asarray(np.linalg.solve(kernel, right), dtype=np.float64)
        scale = (solved[..., 1] @ total) / (solved[..., 0] @ total)
        dual = solved[..., 1] - scale[:, None] * solved[..., 0]
        # What a ridge leaves over is dual / weight.
        weight = _huber(dual / weight)
    return _Solution(scale, dual)


def _huber(residual: Array) -> Array:
    """Weights (…, n): 1 within 1.345 σ, falling as 1/|residual| beyond; σ from the median absolute residual."""
    size = np.abs(residual)
    sigma = np.maximum(1.4826 * np.median(size, axis=-1, keepdims=True), SMALLEST_SIGMA)
    weight: Array = np.minimum(1.0, HUBER * sigma / np.maximum(size, 1e-12))
    return weight


def _folds(n: int, seed: int) -> list[Index]:
    """The test rows of every fold: repeated 5-fold, or leave-one-out where there are few."""
    if n < FEW:
        return [np.array([row]) for row in range(n)]
    rng = np.random.default_rng(seed)
    return [fold for _ in range(REPEATS) for fold in np.array_split(rng.permutation(n), FOLDS)]


def _cross_validate(problem: _Problem, cells: Sequence[_Cell], seed: int) -> Array:
    """(cells, n): every network's |relative residual|, predicted without it; the mean over the repeats."""
    total = np.zeros((len(cells), problem.n))
    count = np.zeros(problem.n)
    for test in _folds(problem.n, seed):
        train = np.setdiff1d(np.arange(problem.n), test)
        solution = _solve(problem, train, cells)
        shrunk = np.einsum("ctn,cn->ct", _gram(problem, cells, test, train), solution.dual)
        total[:, test] += np.abs(solution.scale[:, None] * problem.total[test] + shrunk - 1)
        count[test] += 1
    return total / count


def _usable(problem: _Problem, cells: Sequence[_Cell], whole: _Solution) -> NDArray[np.bool_]:
    """Cells whose every operator scale is positive: a latency below zero is no latency."""
    variance = np.array([cell.op_variance for cell in cells])
    scales = whole.scale[:, None] + variance[:, None] * (whole.dual @ problem.by_op)
    usable: NDArray[np.bool_] = np.all(scales > 0, axis=1)
    return usable


def _choose(cells: Sequence[_Cell], plain: Array, errors: Array, usable: NDArray[np.bool_]) -> int | None:
    """The cell to take, None for the identity: the simplest family that is as good as the best.

    Args:
        cells: the models tried; the first is the global scale.
        plain: (n,) the signed residuals of the identity.
        errors: (cells, n) the absolute ones in cross-validation.
        usable: (cells,) which may be taken at all.
    """
    # A wild network's error is capped, the same for all, or its share in the standard error makes all families alike.
    middle = np.median(errors[0])
    cap = max(float(middle + 5 * 1.4826 * np.median(np.abs(errors[0] - middle))), SMALLEST_SIGMA)
    capped = np.minimum(errors, cap)
    error = np.where(usable, capped.mean(axis=1), np.inf)
    family = np.array([cell.family for cell in cells])
    finalists = [int(np.flatnonzero(family == f)[np.argmin(error[family == f])]) for f in np.unique(family)]
    best = min(finalists, key=lambda cell: float(error[cell]))
    if _is_as_good(np.minimum(np.abs(plain), cap), capped[best]):
        # One scale is cheap, and what it mends, a bias, shows more sharply in the signed errors than in their size.
        signed = np.clip(plain, -cap, cap)
        if abs(np.mean(signed)) <= 2 * _standard_error(signed):
            return None
    return next(cell for cell in finalists if np.isfinite(error[cell]) and _is_as_good(capped[cell], capped[best]))


def _is_as_good(simple: Array, best: Array) -> bool:
    """Whether nothing but chance need separate two models' errors on the same networks.

    What makes a network hard for one model makes it hard for the other, too: only the differences tell.
    """
    difference = simple - best
    return bool(np.mean(difference) <= _standard_error(difference))


def _standard_error(values: Array) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) + SMALLEST_SIGMA


def _calibration(problem: _Problem, cell: _Cell, whole: _Solution, index: int, *, cv_error: float) -> Calibration:
    scale = float(whole.scale[index])
    own = cell.op_variance * (whole.dual[index] @ problem.by_op)
    pair = cell.pair_variance * problem.unit * (whole.dual[index] @ problem.by_pair)
    return Calibration(
        method=_FAMILIES[cell.family],
        cv_error=cv_error,
        networks=problem.n,
        global_scale=scale,
        op_scales={op: float(1 + a / scale) for op, a in zip(problem.ops, own, strict=True)}
        if cell.op_variance
        else {},
        pair_terms=({key: float(p) for key, p in zip(problem.pairs, pair, strict=True)} if cell.pair_variance else {}),
    )
