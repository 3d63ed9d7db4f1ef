"""What one visit of the timing loop brings home, and what many of them say. Plain data and numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import stats

from backends.counting import LEFT_OUT_FLAGS, Counted
from backends.observers import Json

Array = np.ndarray[tuple[int], np.dtype[np.float64]]
CONFIDENCE = 0.95
TRIM = 0.2


@dataclass(frozen=True, kw_only=True)
class Visit:
    """The samples of one workload in one round.

    Sample i is ``elapsed_ms[i]``: the time per run of ``repeats`` runs back to back. The reference workload ran just
    before it (``reference_ms[i]``) and just after it (``reference_ms[i + 1]``), so there is one reference time more
    than there are samples.

    ``observed`` is what the observers saw meanwhile, by name, and None where nobody looked.
    """

    round: int
    elapsed_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    repeats: int
    warmup: int
    flags: tuple[str, ...] = ()
    observed: Mapping[str, Json] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if self.observed is not None:
            object.__setattr__(self, "observed", MappingProxyType(dict(self.observed)))
        if not self.elapsed_ms:
            raise ValueError("a visit has at least one sample")
        if len(self.reference_ms) != len(self.elapsed_ms) + 1:
            raise ValueError(
                f"{len(self.elapsed_ms)} samples need {len(self.elapsed_ms) + 1} reference times, "
                f"not {len(self.reference_ms)}"
            )
        if min(self.elapsed_ms) <= 0 or min(self.reference_ms) <= 0:
            raise ValueError("times are positive")

    @property
    def clean(self) -> bool:
        """Whether estimates rest on it. A visit that nobody observed, as all were once, is taken for clean."""
        return self.observed is None or not LEFT_OUT_FLAGS.intersection(self.flags)

    @property
    def ratios(self) -> Array:
        """Every sample divided by the mean of the reference times on either side of it. No unit."""
        reference = np.asarray(self.reference_ms)
        ratios: Array = np.asarray(self.elapsed_ms) / ((reference[:-1] + reference[1:]) / 2)
        return ratios

    @property
    def ratio(self) -> float:
        """The median of the visit's ratios: drift that the workload and the reference share is divided out."""
        return float(np.median(self.ratios))

    @property
    def median_ms(self) -> float:
        """The plain median, with whatever the machine was doing in it."""
        return float(np.median(self.elapsed_ms))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its uncertainty.

    Attributes:
        value: in the unit of what was estimated (a ratio, or ms).
        rel_ci: half-width of the 95% confidence interval over the value; ``inf`` from fewer than two visits.
        visits: how many visits it rests on.
        left_out: how many more there are that were throttled or contended.
        flagged: fewer than two visits were clean, and it rests on all of them.
    """

    value: float
    rel_ci: float
    visits: int
    left_out: int = 0
    flagged: bool = False

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit."""
        return replace(self, value=self.value * factor)


def center(ratios: Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The middle of many visits: exp of the mean logarithm of what is left when a fifth is cut off at either end.

    Nearly as sparing as the mean where the noise is tame, and as deaf as the median to the odd wild visit.
    """
    return float(_middle(np.sort(np.log(np.asarray(ratios, dtype=np.float64)))))


def _cut(n: int) -> int:
    """How many of n visits are cut off at either end."""
    return int(TRIM * n)


def _middle(logs: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """(…, n) sorted logarithms → (…) exp of the mean of those that are left after trimming."""
    n = logs.shape[-1]
    cut = _cut(n)
    return np.exp(logs[..., cut : n - cut].mean(axis=-1))


def estimate(ratios: Sequence[float]) -> Estimate:
    """The trimmed mean over visits and its interval (Tukey and McLaughlin 1963).

    A visit is the unit, not a sample: samples of one visit share where its memory lies and what the machine was doing,
    so they do not count as independent. With n visits, h of which are left after trimming, the standard error of the
    trimmed mean of the logarithms is s_w · √((n − 1) / (h (h − 1))), s_w their Winsorized standard deviation, and the
    interval is Student's t with h − 1 degrees of freedom.

    Args:
        ratios: one value per visit, positive.

    Raises:
        ValueError: there is none.
    """
    values, rel_ci = estimates([ratios])
    return Estimate(value=float(values[0]), rel_ci=float(rel_ci[0]), visits=len(ratios))


def estimate_of(visits: Counted) -> Estimate:
    """As :func:`estimate`, of the visits that count.

    Raises:
        ValueError: there is none.
    """
    return replace(estimate(visits.values), left_out=visits.left_out, flagged=visits.flagged)


def estimates(series: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """As :func:`estimate` for many series at once: a table has hundreds.

    Args:
        series: of each, one value per visit, positive.

    Returns:
        (n,) values and (n,) relative half-widths of their intervals, ``inf`` from fewer than two visits.

    Raises:
        ValueError: one has none.
    """
    counts = np.array([len(ratios) for ratios in series], dtype=np.intp)
    if len(series) and counts.min() == 0:
        raise ValueError("no visits to estimate from")
    values, rel_ci = np.empty(len(series)), np.full(len(series), np.inf)
    for n in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == n)
        plain = np.array([series[row] for row in rows.tolist()], dtype=np.float64)
        if n < 2:
            values[rows] = plain[:, 0]
            continue
        logs = np.sort(np.log(plain), axis=1)
        cut = _cut(n)
        kept = n - 2 * cut
        winsorized = np.clip(logs, logs[:, cut, None], logs[:, n - 1 - cut, None])
        error = winsorized.std(axis=1, ddof=1) * np.sqrt((n - 1) / (kept * (kept - 1)))
        values[rows] = _middle(logs)
        rel_ci[rows] = _t_quantile(kept - 1) * error
    return values, rel_ci


_T_QUANTILES: dict[int, float] = {}


def _t_quantile(degrees: int) -> float:
    if degrees not in _T_QUANTILES:
        _T_QUANTILES[degrees] = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
    return _T_QUANTILES[degrees]
