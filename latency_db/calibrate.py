"""Learns what an operator costs inside a network from networks that are then never judged. Plain data and numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latency_db.calibration import Calibration, PairKey, boundary_millions, ratio_of, without_boundary
from latency_db.keys import OpSpec

Array = NDArray[np.float64]
Index = NDArray[np.intp]

Family = Literal["identity", "global", "boundary", "op", "pair"]
FEW = 8
"""Below so many networks nothing beyond the global scale is tried."""
FOLDS = 5
REPEATS = 5
BOUNDARY_SHARES = np.linspace(0.025, 0.6, 24)
"""How much of all operators' time, timed alone, their boundaries may have taken."""
OPERATOR_PENALTIES = np.logspace(-3, 1, 9)
PAIR_PENALTIES = np.logspace(-3, 1, 5)
HUBER = 1.345
"""Residuals beyond so many standard deviations lose weight: 95% efficient where the noise is normal."""
ITERATIONS = 4
SMALLEST_SIGMA = 1e-4
"""A relative residual of 0.01% is as good as none: without a floor, exact data would leave no scale to judge by."""


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


def fit(
    samples: Sequence[NetworkSample],
    operator_ratio: Mapping[OpSpec, float],
    *,
    seed: int = 0,
    family: Family | None = None,
) -> Calibration:
    """Learn a calibration from measured networks. Networks that will be judged must not be among them.

    Five families, each with all of the one before it: ``identity``, one ``global`` scale, a term per number that
    crosses an operator's ``boundary``, a scale per ``op`` shrunk to the global one, a term per ``pair`` shrunk to 0
    (the last two with and without the boundary's, whichever does better). Residuals are relative, (predicted −
    measured) / measured, with Huber's weights, so that one wild network does not bend the fit. The boundary's term and
    the penalties come from grids by repeated K-fold cross-validation, and then the simplest family is taken whose
    errors, network by network, exceed the best one's by no more than one standard error of the difference: terms that
    do not pay are noise learnt by heart. With fewer than eight networks nothing beyond the global scale is tried, with
    one alone nothing at all.

    Args:
        samples: the networks to learn from.
        operator_ratio: the ratio of every operator in them, timed alone.
        seed: of the folds; the same input always gives the same calibration.
        family: take this one whatever its error, as an ablation does; only its penalties are chosen.

    Raises:
        ValueError: no samples, an operator without a positive ratio, or too few networks for the family asked for, or
            no usable model of it.
    """
    problem = _Problem.of(samples, operator_ratio)
    plain = problem.total - 1
    identity = Calibration(method="identity", cv_error=float(np.mean(np.abs(plain))), networks=problem.n)
    if problem.n == 1 or family == "identity":
        return identity
    trials = _trials(samples, operator_ratio, problem, seed, family)
    cells = [cell for trial in trials for cell in trial.cells]
    if not cells:
        raise ValueError(f"{problem.n} networks are too few for a calibration by {family}")
    errors = np.concatenate([trial.errors for trial in trials])
    usable = np.concatenate([trial.usable for trial in trials])
    chosen: int | None
    if family is not None:
        if not usable.any():
            raise ValueError(f"a calibration by {family} would make some operator's latency negative")
        cap = _cap(errors[0])
        chosen = int(np.argmin(np.where(usable, np.minimum(errors, cap).mean(axis=1), np.inf)))
    else:
        chosen = _choose(cells, plain, errors, usable)
    if chosen is None:
        return identity
    for trial in trials:
        if chosen < len(trial.cells):
            return trial.calibration(chosen)
        chosen -= len(trial.cells)
    raise AssertionError("one of the cells was chosen")


class _Cell(NamedTuple):
    """One model to try: the family, and the variance that the terms are allowed, 1/λ (0: no such terms)."""

    family: int
    op_variance: float
    pair_variance: float


_FAMILIES: tuple[Family, ...] = ("identity", "global", "boundary", "op", "pair")


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
                by_op[row, op_index[spec.op]] += ratio_of(spec, ratios)
            for key in row_keys:
                by_pair[row, pair_index[key]] += 1
        measured = np.array([sample.ratio for sample in samples])[:, None]
        unit = float(np.median([sample.ratio / len(sample.specs) for sample in samples]))
        by_op /= measured
        return cls(by_op.sum(axis=1), by_op, by_pair * unit / measured, ops, pairs, unit)


@dataclass(frozen=True)
class _Trial:
    """The models that are tried with one term of the boundary.

    Attributes:
        boundary_ratio: k.
        problem: of the ratios without it.
        cells: the models.
        errors: (cells, n) in cross-validation.
        whole: fitted to all networks.
        usable: (cells,) whether every operator's scale is positive.
    """

    boundary_ratio: float
    problem: _Problem
    cells: tuple[_Cell, ...]
    errors: Array
    whole: _Solution
    usable: NDArray[np.bool_]

    @classmethod
    def of(cls, problem: _Problem, boundary_ratio: float, cells: Sequence[_Cell], seed: int) -> _Trial:
        whole = _solve(problem, np.arange(problem.n), cells)
        return cls(
            boundary_ratio=boundary_ratio,
            problem=problem,
            cells=tuple(cells),
            errors=_cross_validate(problem, cells, seed),
            whole=whole,
            usable=_usable(problem, cells, whole),
        )

    def calibration(self, index: int) -> Calibration:
        """The model of one cell."""
        problem, cell = self.problem, self.cells[index]
        scale, dual = float(self.whole.scale[index]), self.whole.dual[index]
        own = cell.op_variance * (dual @ problem.by_op)
        pair = cell.pair_variance * problem.unit * (dual @ problem.by_pair)
        return Calibration(
            method=_FAMILIES[cell.family],
            cv_error=float(np.mean(self.errors[index])),
            networks=problem.n,
            global_scale=scale,
            boundary_ratio=self.boundary_ratio,
            op_scales={op: float(1 + a / scale) for op, a in zip(problem.ops, own, strict=True)}
            if cell.op_variance
            else {},
            pair_terms={key: float(p) for key, p in zip(problem.pairs, pair, strict=True)}
            if cell.pair_variance
            else {},
        )


def _trials(
    samples: Sequence[NetworkSample],
    ratios: Mapping[OpSpec, float],
    problem: _Problem,
    seed: int,
    family: Family | None,
) -> list[_Trial]:
    """What is tried; of one family alone where that is asked for. The first cell of all is the global scale."""

    def of(cells: Sequence[_Cell]) -> list[_Cell]:
        return [cell for cell in cells if family is None or _FAMILIES[cell.family] == family]

    richer = _richer(problem) if problem.n >= FEW else []
    trials = [_Trial.of(problem, 0.0, cells, seed)] if (cells := of([GLOBAL, *richer])) else []
    if problem.n < FEW or family == "global":
        return trials
    bounded = []
    for boundary_ratio in _boundary_ratios(samples, ratios):
        less = {spec: without_boundary(spec, ratio, boundary_ratio) for spec, ratio in ratios.items()}
        bounded.append(_Trial.of(_Problem.of(samples, less), boundary_ratio, [BOUNDARY], seed))
    # By the same cap for all: each by its own would let one wild network move the bound that it is judged by.
    cap = _cap(bounded[0].errors[0])
    best = min(bounded, key=lambda trial: float(np.minimum(trial.errors, cap).mean()))
    if of([BOUNDARY]):
        trials.append(best)
    if cells := of(richer):
        trials.append(_Trial.of(best.problem, best.boundary_ratio, cells, seed))
    return trials


GLOBAL, BOUNDARY = _Cell(1, 0.0, 0.0), _Cell(2, 0.0, 0.0)


def _richer(problem: _Problem) -> list[_Cell]:
    """Scales per operator, and terms per pair."""
    cells = [_Cell(3, 1 / penalty, 0.0) for penalty in OPERATOR_PENALTIES]
    if problem.pairs:
        cells += [_Cell(4, 1 / own, 1 / pair) for own in OPERATOR_PENALTIES[::2] for pair in PAIR_PENALTIES]
    return cells


def _boundary_ratios(samples: Sequence[NetworkSample], ratios: Mapping[OpSpec, float]) -> list[float]:
    """Terms to try: from a small part of what the networks' operators take to most of it."""
    specs = [spec for sample in samples for spec in sample.specs]
    per_million = sum(ratios[spec] for spec in specs) / sum(map(boundary_millions, specs))
    return [float(share * per_million) for share in BOUNDARY_SHARES]


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
    cap = _cap(errors[0])
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


def _cap(errors: Array) -> float:
    """Where a wild network's error is cut off, or its share in the standard error makes all families alike.

    Args:
        errors: (n,) of the networks by one model.
    """
    middle = np.median(errors)
    return max(float(middle + 5 * 1.4826 * np.median(np.abs(errors - middle))), SMALLEST_SIGMA)


def _is_as_good(simple: Array, best: Array) -> bool:
    """Whether nothing but chance need separate two models' errors on the same networks.

    What makes a network hard for one model makes it hard for the other, too: only the differences tell.
    """
    difference = simple - best
    return bool(np.mean(difference) <= _standard_error(difference))


def _standard_error(values: Array) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) + SMALLEST_SIGMA
