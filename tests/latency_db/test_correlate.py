"""Agreement, reliability and the verdict, against cases worked out by hand and noise of known size."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from latency_db.correlate import (
    Agreement,
    Outcome,
    agreement,
    judge,
    noise_ceiling,
    prediction_reliability,
    split_half_reliability,
)


def test_agreement_by_hand() -> None:
    found = agreement([11.0, 20.0, 28.0], [10.0, 20.0, 40.0])
    assert found.networks == 3
    assert found.mape == pytest.approx((0.1 + 0 + 0.3) / 3)
    assert found.bias == pytest.approx((0.1 - 0.3) / 3)
    assert found.max_error == pytest.approx(0.3)
    assert found.within_5 == pytest.approx(1 / 3)
    assert found.spearman == pytest.approx(1)
    assert found.spread == pytest.approx(np.std([10, 20, 40], ddof=1) / (70 / 3))


def test_a_line_is_found_as_measured_over_predicted() -> None:
    predicted = [1.0, 2.0, 3.0, 5.0]
    found = agreement(predicted, [2 * p + 0.5 for p in predicted])
    assert found.slope == pytest.approx(2)
    assert found.intercept == pytest.approx(0.5)
    assert found.pearson == pytest.approx(1)


def test_shares_within_the_bounds() -> None:
    found = agreement([1.04, 2.18, 3.0, 4.6], [1.0, 2.0, 3.0, 4.0])
    assert found.within_5 == 0.5
    assert found.within_10 == 0.75


def test_perfect_agreement() -> None:
    found = agreement([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert (found.pearson, found.spearman, found.within_5, found.within_10) == pytest.approx((1, 1, 1, 1))
    assert (found.mape, found.bias, found.max_error, found.intercept) == pytest.approx((0, 0, 0, 0))


@pytest.mark.parametrize(
    ("predicted", "measured", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0], "at least 3"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "cannot be compared"),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], "measured latencies are all the same"),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], "predicted latencies are all the same"),
        ([1.0, 2.0, 3.0], [1.0, 0.0, 2.0], "measured latency must be a positive"),
        ([1.0, math.nan, 3.0], [1.0, 3.0, 2.0], "predicted latency must be a positive"),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted: list[float], measured: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        agreement(predicted, measured)


def _noisy(items: int, visits: int, spread: float, noise: float, seed: int = 1) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    truth = 1 + spread * rng.standard_normal(items)
    values = truth[:, None] * (1 + noise * rng.standard_normal((items, visits)))
    return {f"item{index}": row.tolist() for index, row in enumerate(values)}


def test_reliability_of_known_noise() -> None:
    # Reliability is var(truth) / (var(truth) + var(error of the median)); the median of n normal values has an error
    # variance of about π/2 · noise² / n.
    reliability = split_half_reliability(_noisy(400, 16, spread=0.1, noise=0.2))
    expected = 0.1**2 / (0.1**2 + math.pi / 2 * 0.2**2 / 16)
    assert reliability == pytest.approx(expected, abs=0.06)


def test_reliability_without_noise_is_one_and_of_pure_noise_is_low() -> None:
    assert split_half_reliability({k: [float(k)] * 4 for k in range(1, 6)}) == pytest.approx(1)
    assert split_half_reliability(_noisy(400, 8, spread=0.0, noise=0.1)) < 0.2


def test_reliability_is_the_same_every_time_and_ignores_what_a_round_does_to_all() -> None:
    visits = _noisy(30, 9, spread=0.1, noise=0.02)
    drift = np.linspace(1, 1.5, 9)
    drifting = {key: (np.asarray(values) * drift).tolist() for key, values in visits.items()}
    assert split_half_reliability(visits) == split_half_reliability(visits)
    assert split_half_reliability(drifting) == pytest.approx(split_half_reliability(visits), abs=0.02)


def test_items_may_have_different_numbers_of_visits() -> None:
    visits = {k: [float(k)] * (2 + k % 3) for k in range(1, 10)}
    assert split_half_reliability(visits) == pytest.approx(1)


def test_a_visit_that_does_not_count_leaves_the_others_where_they_were() -> None:
    """Drift is common to a round: with one visit gone from some items, the others are still split by their rounds."""
    visits = _noisy(30, 10, spread=0.1, noise=0.02)
    rounds = np.where(np.arange(10) % 2, 1.4, 1.0)
    drifting = {key: (np.asarray(values) * rounds).tolist() for key, values in visits.items()}
    marked, removed = dict(drifting), dict(drifting)
    for key in list(drifting)[::2]:
        marked[key] = [math.nan if place == 0 else value for place, value in enumerate(drifting[key])]
        removed[key] = drifting[key][1:]
    whole = split_half_reliability(visits, splits=1)
    assert split_half_reliability(marked, splits=1) == pytest.approx(whole, abs=0.03)
    assert split_half_reliability(removed, splits=1) < whole - 0.2
    with pytest.raises(ValueError, match="1 of 3 have fewer"):
        split_half_reliability({1: [1.0, math.nan], 2: [2.0, 2.0], 3: [3.0, 3.0]})


def test_opposed_halves_have_no_reliability() -> None:
    assert split_half_reliability({1: [1.0, 3.0], 2: [2.0, 2.0], 3: [3.0, 1.0]}) == 0


@pytest.mark.parametrize(
    ("visits", "says"),
    [
        ({}, "at least 3 items, not 0"),
        ({"conv": [1.0], "skip": [1.0, 2.0], "stem": [1.0, 2.0]}, "1 of 3 have fewer, conv for one"),
        ({1: [1.0, 1.0], 2: [2.0, 2.0]}, "at least 3"),
        ({1: [1.0, 1.0], 2: [1.0, 1.0], 3: [1.0, 1.0]}, "all the same"),
    ],
)
def test_reliability_of_too_little_is_refused(visits: Mapping[object, list[float]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        split_half_reliability(visits)


def test_predictions_are_more_reliable_than_their_operators() -> None:
    visits = _noisy(40, 8, spread=0.3, noise=0.2)
    rng = np.random.default_rng(7)
    networks = [rng.choice(list(visits), size=12) for _ in range(50)]

    def predict(ratios: Mapping[str, float]) -> list[float]:
        return [sum(ratios[op] for op in network) for network in networks]

    clean = {key: [float(np.median(values))] * 2 for key, values in visits.items()}
    assert prediction_reliability(predict, clean) == pytest.approx(1)
    assert 0.8 < prediction_reliability(predict, visits) < 1


def test_prediction_reliability_needs_three_networks() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        prediction_reliability(lambda ratios: [ratios["conv"]] * 2, {"conv": [1.0, 2.0]})


def test_prediction_reliability_needs_operators() -> None:
    with pytest.raises(ValueError, match="nothing to split"):
        prediction_reliability(lambda ratios: [1.0, 2.0, 3.0], {})


def test_noise_ceiling() -> None:
    assert noise_ceiling(0.989, 0.99) == pytest.approx(math.sqrt(0.989 * 0.99))
    assert noise_ceiling(1.2, 1.0) == 1
    assert noise_ceiling(-0.1, 0.9) == 0


FIGURES = Agreement(
    pearson=0.995,
    spearman=0.99,
    mape=0.012,
    within_5=1.0,
    within_10=1.0,
    bias=0.0,
    slope=1.0,
    intercept=0.0,
    max_error=0.03,
    spread=0.1,
    networks=60,
)


@pytest.mark.parametrize(
    ("ceiling", "min_pearson", "max_mape", "outcome", "exit_code"),
    [
        (None, None, None, Outcome.PASSED, 0),
        (0.999, 0.993, 0.015, Outcome.PASSED, 0),
        (0.999, 0.997, 0.015, Outcome.MISSED, 1),
        (0.999, 0.993, 0.010, Outcome.MISSED, 1),
        (0.993, 0.993, 0.015, Outcome.INCONCLUSIVE, 2),
        (0.990, 0.997, None, Outcome.INCONCLUSIVE, 2),
        (math.nan, 0.993, None, Outcome.INCONCLUSIVE, 2),
        (None, 0.993, None, Outcome.INCONCLUSIVE, 2),
        (0.5, None, 0.015, Outcome.PASSED, 0),
        (0.990, 0.993, 0.010, Outcome.MISSED, 1),
    ],
)
def test_verdict(
    ceiling: float | None, min_pearson: float | None, max_mape: float | None, outcome: Outcome, exit_code: int
) -> None:
    verdict = judge(FIGURES, ceiling, min_pearson, max_mape)
    assert verdict.outcome is outcome
    assert verdict.exit_code == exit_code
    assert bool(verdict.reasons) == (outcome is not Outcome.PASSED)


def test_reasons_name_the_figure_and_the_bound() -> None:
    verdict = judge(FIGURES, 0.999, 0.997, 0.01)
    assert verdict.reasons[0] == "Pearson r 0.9950 is below the bound of 0.997"
    assert verdict.reasons[1] == "MAPE 1.20% is above the bound of 0.01 (1.00%)"
