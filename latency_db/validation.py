"""``latency-db validate``: how well the database predicts networks that took no part in any fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backends.measure import Outcome, Plan
from latency_db.calibration import Calibration
from latency_db.campaign import Campaign, Network
from latency_db.correlate import (
    Agreement,
    Verdict,
    agreement,
    judge,
    noise_ceiling,
    prediction_reliability,
    split_half_reliability,
)
from latency_db.errors import InputError, PredictionError
from latency_db.keys import OpSpec
from latency_db.profiling import DEFAULT_CALIBRATION_NETWORKS
from latency_db.rows import FlagCounts
from latency_db.space import Architecture
from latency_db.trial import Judged, Trial

DEFAULT_BOUND = 0.993
"""The paper's r: what measuring aims to be able to judge where no bound is given."""
MIN_NETWORKS = 3
NOISE_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result.

    Attributes:
        agreement: predicted against measured.
        verdict: against the bounds.
        ceiling: the noise ceiling of r; NaN where there were too few visits to tell.
        reliability_measured: of the networks' own measurement.
        reliability_predicted: of the predictions.
        judged: every network.
        dropped: networks that could not be measured or predicted: (name, reason).
        calibration: what the predictions used.
        run_id: the run.
        outcome: how measuring ended.
        reference_ms: what one unit of ratio is in ms.
        stored: whether operators and calibration were those of the database.
        flags: what is said of the run's visits.
        left_out: visits to operators and networks that do not count.
        operators: how many the predictions and the calibration need.
        flagged_operators: how many of them rest on throttled or contended visits for lack of others.
        flagged_networks: the names of the judged networks that do.
    """

    agreement: Agreement
    verdict: Verdict
    ceiling: float
    reliability_measured: float
    reliability_predicted: float
    judged: list[Judged]
    dropped: list[tuple[str, str]]
    calibration: Calibration
    run_id: int
    outcome: Outcome
    reference_ms: float
    stored: bool
    flags: FlagCounts
    left_out: int
    operators: int
    flagged_operators: int
    flagged_networks: tuple[str, ...]


@dataclass
class _Validator(Trial):
    bound: float = DEFAULT_BOUND

    def reliabilities(self, networks: Sequence[Network], calibration: Calibration) -> tuple[float, float]:
        """Of the measurements and of the predictions; NaN where there are too few visits."""
        measured = {network.id: self.networks[network.id].visited.in_order for network in networks}
        specs = sorted({spec for network in networks for spec in network.decomposition.specs})
        visits = {spec: self.operators[spec].visited.in_order for spec in specs}
        jobs = [*(self.networks[network.id] for network in networks), *(self.operators[spec] for spec in specs)]
        if len(networks) < MIN_NETWORKS or min(len(job.ratios) for job in jobs) < 2:
            return math.nan, math.nan
        counts = np.array([[used[spec] for spec in specs] for used in map(_counted, networks)])
        constant = np.array([pair_sum(network, calibration) for network in networks])

        def predict_all(ratios: Mapping[OpSpec, float]) -> list[float]:
            shares = np.array([calibration.operator_ratio(spec, ratios[spec]) for spec in specs])
            values = counts @ shares + constant
            return [float(value) for value in values]

        return split_half_reliability(measured), prediction_reliability(predict_all, visits)

    def enough(self, rounds: int) -> bool:
        """Whether noise is a small part of what keeps r from 1: the ceiling is three quarters of the way to it."""
        if rounds < self.plan.min_rounds:
            return False
        networks = self.usable()
        if not networks:
            return True
        if self.lacks_clean_visits():
            return False
        try:
            ceiling = noise_ceiling(*self.reliabilities(networks, Calibration.identity()))
        except ValueError:
            # Nothing varies yet (few visits, very quick operators): go on measuring.
            return False
        return ceiling >= 1 - (1 - self.bound) * NOISE_SHARE


def _counted(network: Network) -> Counter[OpSpec]:
    return Counter(network.decomposition.specs)


def pair_sum(network: Network, calibration: Calibration) -> float:
    """The network's pair terms, in units of the reference."""
    specs = network.decomposition.specs
    return sum(calibration.pair_ratio(specs[a], specs[b]) for a, b in network.decomposition.edges)


def validate(
    campaign: Campaign,
    plan: Plan,
    *,
    networks: int,
    named: Mapping[str, Architecture] | None = None,
    seed: int = 0,
    stored: bool = False,
    min_pearson: float | None = None,
    max_mape: float | None = None,
    calibration_networks: int = DEFAULT_CALIBRATION_NETWORKS,
) -> Validation:
    """Sample networks, measure them end to end, predict each as a sum of operators, compare.

    Without ``stored``, the operators and the networks that the calibration is fitted to take part in the same shuffled
    rounds as the networks that are judged, as far as the database does not know them well enough yet. With it, only the
    judged networks are measured, and the operators and the calibration are those of the database.

    Args:
        campaign: the space, the target, the database.
        plan: when to stop; measuring also stops when the noise ceiling is clearly above the bound.
        networks: how many random networks to judge.
        named: further networks to judge, by what they are called.
        seed: of the networks and of the order within rounds.
        stored: predict from what is stored.
        min_pearson: smallest r that passes.
        max_mape: largest MAPE that passes, a fraction.
        calibration_networks: how many other networks to fit the calibration to; 0: predict the plain sum.

    Raises:
        InputError: fewer than three networks.
        PredictionError: stored operators are missing, or too few networks could be measured.
    """
    if networks + len(named or {}) < MIN_NETWORKS:
        raise InputError(f"--networks {networks}: at least {MIN_NETWORKS} are needed for a correlation")
    bound = min_pearson if min_pearson is not None else DEFAULT_BOUND
    validator = _Validator(campaign, plan, seed, stored, calibration_networks, dict(named or {}), bound=bound)
    validator.prepare(networks)
    run_id, outcome = campaign.run(
        "validate",
        validator.jobs(),
        plan,
        seed=seed,
        enough=validator.enough,
        details=validator.details(networks),
    )
    calibration = validator.calibration(run_id)
    return _conclude(validator, calibration, run_id, outcome, min_pearson, max_mape)


def _conclude(
    validator: _Validator,
    calibration: Calibration,
    run_id: int,
    outcome: Outcome,
    min_pearson: float | None,
    max_mape: float | None,
) -> Validation:
    usable = validator.usable()
    dropped = validator.dropped(outcome)
    if len(usable) < MIN_NETWORKS:
        raise PredictionError(
            f"only {len(usable)} of {len(validator.judged)} networks could be measured and predicted ({dropped[0][1]})",
            hint="raise --time-budget",
        )
    reference_ms = validator.campaign.reference_ms()
    judged = validator.results(calibration)
    try:
        figures = agreement([one.predicted.latency_ms for one in judged], [one.measured.value for one in judged])
        reliabilities = validator.reliabilities(usable, calibration)
    except ValueError as error:
        raise PredictionError(f"these networks cannot be compared: {error}") from None
    ceiling = noise_ceiling(*reliabilities) if not math.isnan(sum(reliabilities)) else math.nan
    flagged_operators, flagged_networks = validator.flagged()
    return Validation(
        agreement=figures,
        verdict=judge(figures, ceiling, min_pearson, max_mape),
        ceiling=ceiling,
        reliability_measured=reliabilities[0],
        reliability_predicted=reliabilities[1],
        judged=judged,
        dropped=dropped,
        calibration=calibration,
        run_id=run_id,
        outcome=outcome,
        reference_ms=reference_ms,
        stored=validator.stored,
        flags=validator.campaign.store.flag_counts(run_id),
        left_out=validator.left_out(),
        operators=len(validator.operators),
        flagged_operators=len(flagged_operators),
        flagged_networks=tuple(validator.name(network) for network in flagged_networks),
    )
