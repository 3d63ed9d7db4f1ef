"""How well predictions agree with measurements, and how well they could agree at best. Plain numbers in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backends.samples import center

Vector = NDArray[np.float64]
Index = NDArray[np.intp]
Key = TypeVar("Key", bound=Hashable)

MIN_NETWORKS = 3
"""Two points always lie on a line: agreement begins with three."""
SPLITS = 32
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Predictions against measurements. Fractions, never percents.

    With p the predicted and m the measured latencies:

    Attributes:
        pearson: linear correlation of p and m.
        spearman: their rank correlation.
        mape: mean of |p/m − 1|.
        within_5: share of networks with |p/m − 1| ≤ 0.05.
        within_10: share of networks with |p/m − 1| ≤ 0.10.
        bias: mean of p/m − 1.
        slope: of the least-squares line measured = slope · predicted + intercept.
        intercept: of the same line, in ms.
        max_error: the largest |p/m − 1|.
        spread: coefficient of variation of m (sample standard deviation over mean). The correlation depends on it: the
            more alike the networks are, the lower the r that the same errors give.
        networks: how many there are.
    """

    pearson: float
    spearman: float
    mape: float
    within_5: float
    within_10: float
    bias: float
    slope: float
    intercept: float
    max_error: float
    spread: float
    networks: int


def agreement(predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> Agreement:
    """Compare predicted with measured latencies, network by network.

    Raises:
        ValueError: fewer than three networks, unequal lengths, a latency that is not positive and finite, or latencies
            that are all the same, so that no correlation exists.
    """
    if len(predicted_ms) != len(measured_ms):
        raise ValueError(f"{len(predicted_ms)} predictions cannot be compared with {len(measured_ms)} measurements")
    if len(measured_ms) < MIN_NETWORKS:
        raise ValueError(f"agreement needs at least {MIN_NETWORKS} networks, not {len(measured_ms)}")
    predicted = _latencies(predicted_ms, "predicted")
    measured = _latencies(measured_ms, "measured")
    error = predicted / measured - 1
    slope = float(np.cov(predicted, measured)[0, 1] / np.var(predicted, ddof=1))
    return Agreement(
        pearson=_pearson(predicted, measured),
        spearman=_spearman(predicted, measured),
        mape=float(np.mean(np.abs(error))),
        within_5=float(np.mean(np.abs(error) <= 0.05)),
        within_10=float(np.mean(np.abs(error) <= 0.10)),
        bias=float(np.mean(error)),
        slope=slope,
        intercept=float(measured.mean() - slope * predicted.mean()),
        max_error=float(np.max(np.abs(error))),
        spread=float(np.std(measured, ddof=1) / np.mean(measured)),
        networks=len(measured),
    )


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """How two series of numbers go together: linearly, and in their order."""

    pearson: float
    spearman: float


def correlations(a: Sequence[float], b: Sequence[float]) -> Correlations | None:
    """Of two series of one length; None where none exists: fewer than three pairs, or a series all the same."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(first) < MIN_NETWORKS or _constant(first) or _constant(second):
        return None
    return Correlations(pearson=_pearson(first, second), spearman=_spearman(first, second))


def split_half_reliability(visits: Mapping[Key, Sequence[float]], *, splits: int = SPLITS, seed: int = SEED) -> float:
    """Reliability of the items' estimates: the r that two full measurements of the same items would reach.

    Every item's visits are split in two, each half gives an estimate per item, and the two are correlated over the
    items. The r of half the visits is corrected to all of them by Spearman and Brown, 2r / (1 + r). It is averaged over
    several balanced splits, because the r of one split is itself noisy. All items are split at the same positions:
    what a round does to all of them alike does not disturb their order, neither here nor in the report.

    Args:
        visits: per item one value per visit, in the order in which they were made; NaN for one that does not count.
        splits: how many splits; the first is by odd and even position, the others are drawn.
        seed: of the draws, so that the same visits always give the same figure.

    Returns:
        Within [0, 1]; 0 where the halves do not correlate, or correlate negatively.

    Raises:
        ValueError: fewer than three items, an item with fewer than two visits, or halves without variance.
    """
    halves = (
        (np.array(list(first.values())), np.array(list(second.values())))
        for first, second in _halves(visits, splits=splits, seed=seed)
    )
    return _corrected(halves, items=len(visits))


def prediction_reliability(
    predict: Callable[[Mapping[Key, float]], Sequence[float]],
    visits: Mapping[Key, Sequence[float]],
    *,
    splits: int = SPLITS,
    seed: int = SEED,
) -> float:
    """Reliability of the networks' predictions, as far as the operators' measurement limits it.

    Like :func:`split_half_reliability`, but what is split are the operators' visits, and what is correlated are the
    networks' predictions from either half. Errors of the model itself are in both halves and do not count.

    Args:
        predict: predicts every network, always in the same order, from one value per operator.
        visits: per operator one value per visit, in order; NaN for one that does not count.
        splits: how many splits are averaged.
        seed: of the splits that are drawn.

    Raises:
        ValueError: fewer than three networks, an operator with fewer than two visits, or predictions all the same.
    """
    pairs = [
        (np.asarray(predict(first), dtype=np.float64), np.asarray(predict(second), dtype=np.float64))
        for first, second in _halves(visits, splits=splits, seed=seed)
    ]
    return _corrected(pairs, items=len(pairs[0][0]))


def noise_ceiling(reliability_measured: float, reliability_predicted: float) -> float:
    """The r that a perfect model would show: √(reliability of the measurements × reliability of the predictions)."""
    product = max(reliability_measured, 0.0) * max(reliability_predicted, 0.0)
    return min(math.sqrt(product), 1.0)


class Outcome(StrEnum):
    """How a validation ended."""

    PASSED = "passed"
    MISSED = "missed"
    INCONCLUSIVE = "inconclusive"


_EXIT_CODES = {Outcome.PASSED: 0, Outcome.MISSED: 1, Outcome.INCONCLUSIVE: 2}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome, the bounds it was judged by (None: not asked for) and one line for every reason."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    min_pearson: float | None = None
    max_mape: float | None = None

    @property
    def exit_code(self) -> int:
        """0 passed, 1 missed, 2 inconclusive."""
        return _EXIT_CODES[self.outcome]


def judge(
    figures: Agreement, ceiling: float | None, min_pearson: float | None = None, max_mape: float | None = None
) -> Verdict:
    """Hold the agreement against its bounds.

    A Pearson bound can only be judged where the noise ceiling is above it. Otherwise neither reaching nor missing it
    says anything about the model, and the verdict is inconclusive, unless another bound is missed for certain.

    Args:
        figures: the agreement.
        ceiling: the noise ceiling of r; None or NaN where it is not known.
        min_pearson: the smallest r that passes.
        max_mape: the largest mean absolute relative error that passes, a fraction.
    """
    missed: list[str] = []
    doubts: list[str] = []
    if min_pearson is not None:
        if ceiling is None or not ceiling > min_pearson:
            known = "unknown" if ceiling is None or math.isnan(ceiling) else f"{ceiling:.4f}"
            doubts.append(f"the noise ceiling of r ({known}) is not above the bound of {min_pearson:g}: measure longer")
        elif figures.pearson < min_pearson:
            missed.append(f"Pearson r {figures.pearson:.4f} is below the bound of {min_pearson:g}")
    if max_mape is not None and figures.mape > max_mape:
        missed.append(f"MAPE {figures.mape:.2%} is above the bound of {max_mape:.4g} ({max_mape:.2%})")
    outcome = Outcome.MISSED if missed else Outcome.INCONCLUSIVE if doubts else Outcome.PASSED
    return Verdict(outcome=outcome, reasons=(*missed, *doubts), min_pearson=min_pearson, max_mape=max_mape)


def _latencies(values: Sequence[float], what: str) -> Vector:
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)) or np.any(array <= 0):
        raise ValueError(f"every {what} latency must be a positive, finite number")
    if _constant(array):
        raise ValueError(f"the {what} latencies are all the same: no correlation exists")
    return array


def _constant(array: Vector) -> bool:
    # Not var == 0: the mean of equal floats can be off by a rounding, which leaves a variance of about 1e-33.
    return bool(np.ptp(array) <= 1e-12 * np.max(np.abs(array)))


def _pearson(a: Vector, b: Vector) -> float:
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))


def _spearman(a: Vector, b: Vector) -> float:
    return _pearson(stats.rankdata(a), stats.rankdata(b))


def _halves(
    visits: Mapping[Key, Sequence[float]], *, splits: int, seed: int
) -> Iterator[tuple[dict[Key, float], dict[Key, float]]]:
    """Per split, the middle of either half of every key's visits, as an estimate would take it."""
    if splits < 1:
        raise ValueError(f"reliability needs at least one split, not {splits}")
    arrays = {key: np.asarray(values, dtype=np.float64) for key, values in visits.items()}
    count = {key: ~np.isnan(values) for key, values in arrays.items()}
    short = [key for key, good in count.items() if good.sum() < 2]
    if short or not visits:
        detail = (
            f"{len(short)} of {len(visits)} have fewer, {short[0]} for one" if short else "there is nothing to split"
        )
        raise ValueError(f"split halves need two visits of everything: {detail}")
    # By which visits count: most keys have the same ones, and are split alike.
    alike = {key: good.tobytes() for key, good in count.items()}
    kinds = {alike[key]: good for key, good in count.items()}
    longest = max(map(len, arrays.values()))
    rng = np.random.default_rng(seed)
    for index in range(splits):
        order = np.arange(longest) if index == 0 else rng.permutation(longest)
        places = {kind: _split(order[order < len(good)], good) for kind, good in kinds.items()}
        yield (
            {key: center(values[places[alike[key]][0]]) for key, values in arrays.items()},
            {key: center(values[places[alike[key]][1]]) for key, values in arrays.items()},
        )


def _split(order: Index, counts: NDArray[np.bool_]) -> tuple[Index, Index]:
    """Two halves of the places that count.

    Taking turns along one order balances the halves of every key, however many visits it has; places that do not count
    are dropped afterwards, so that what was at one time goes to the same half for all. Where that leaves one empty,
    turns are taken by those that are left.
    """
    one, other = (half[counts[half]] for half in (order[0::2], order[1::2]))
    if not (len(one) and len(other)):
        left = order[counts[order]]
        one, other = left[0::2], left[1::2]
    return one, other


def _corrected(halves: Iterator[tuple[Vector, Vector]] | Sequence[tuple[Vector, Vector]], *, items: int) -> float:
    """The mean correlation of the halves, corrected to full length by Spearman and Brown."""
    if items < MIN_NETWORKS:
        raise ValueError(f"reliability needs at least {MIN_NETWORKS} items, not {items}")
    correlations: list[float] = []
    for first, second in halves:
        if _constant(first) or _constant(second):
            raise ValueError("the halves are all the same: no correlation exists")
        correlations.append(_pearson(first, second))
    r = max(float(np.mean(correlations)), 0.0)
    return 2 * r / (1 + r)
