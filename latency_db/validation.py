"""``latency-db validate``: how well the database predicts networks that took no part in any fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from backends.measure import Job, Outcome, Plan
from backends.samples import Estimate, estimate
from latency_db.calibrate import Calibration
from latency_db.calibration_row import CalibrationRow
from latency_db.campaign import CALIBRATION_SEED, Campaign, Network
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
from latency_db.predict import Prediction, missing, predict
from latency_db.profiling import DEFAULT_CALIBRATION_NETWORKS, calibrate, stored_row
from latency_db.space import Architecture

DEFAULT_BOUND = 0.993
"""The paper's r: what measuring aims to be able to judge where no bound is given."""
MIN_NETWORKS = 3
NOISE_SHARE = 0.25
OPERATOR_ROUNDS = 4
"""Operators take part in every fourth round, once they have a few visits: a prediction adds up some twenty of them, so
their noise averages out, and the networks' own is what limits the comparison."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One network: what was predicted and what was measured, both in ms; named where it was asked for by name."""

    network: Network
    predicted: Prediction
    measured: Estimate
    named: bool = False
    name: str


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


@dataclass
class _Validator:
    campaign: Campaign
    plan: Plan
    seed: int
    stored: bool
    bound: float
    calibration_networks: int
    named: Mapping[str, Architecture] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    calibrating: list[Network] = field(default_factory=list)
    judged: list[Network] = field(default_factory=list)
    operators: dict[OpSpec, Job] = field(default_factory=dict)
    networks: dict[int, Job] = field(default_factory=dict)
    row: CalibrationRow | None = None

    def prepare(self, count: int) -> None:
        campaign = self.campaign
        self.row = stored_row(campaign) if self.stored and self.calibration_networks else None
        asked = {network.id: network for network in map(campaign.network, self.named.values())}
        self.names = {campaign.network(architecture).id: name for name, architecture in self.named.items()}
        self.calibrating = campaign.draw(self.calibration_networks, CALIBRATION_SEED, exclude=asked)
        known = self.known_to_calibration()
        fitted = [self.names[id_] for id_ in asked if id_ in known]
        if fitted:
            raise InputError(
                f"the stored calibration was fitted to {fitted[0]} among others: it cannot be judged by it",
                hint="validate it without --stored",
            )
        self.judged = campaign.draw(count, f"validate/{self.seed}", exclude={*known, *asked})
        if len(self.judged) < count:
            raise InputError(
                f"the space yields {len(self.judged)} networks beside the {len(self.calibrating)} for calibration, "
                f"not {count}",
                hint="lower --networks or --calibration-networks",
            )
        self.judged = [*asked.values(), *self.judged]
        # The networks that are judged are measured now, whatever an earlier run may have found.
        self.networks = campaign.network_jobs(self.judged, stored=False, always=True)
        self.operators = campaign.operator_jobs(self.needed(), every=OPERATOR_ROUNDS)
        if self.stored:
            self.refuse_gaps()
        else:
            self.networks |= campaign.network_jobs(self.calibrating)

    def name(self, network: Network) -> str:
        return self.names.get(network.id, f"network {network.id}")

    def profile_command(self) -> str:
        return f"latency-db profile --backend {self.campaign.backend.name} --image-size {self.campaign.image}"

    def known_to_calibration(self) -> set[int]:
        """Networks that a calibration is or was fitted to: they are never judged."""
        known = {network.id for network in self.calibrating}
        if self.row is not None:
            runs = [run for run in self.campaign.store.runs(self.campaign.target_id) if run.id == self.row.run_id]
            known.update(id_ for run in runs for id_ in run.plan.get("calibrating", ()))
        return known

    def needed(self) -> list[OpSpec]:
        networks = self.judged if self.stored else [*self.judged, *self.calibrating]
        return sorted({spec for network in networks for spec in network.decomposition.specs})

    def refuse_gaps(self) -> None:
        lacking = [spec for spec, job in self.operators.items() if not job.ratios]
        if lacking:
            raise PredictionError(
                f"{len(lacking)} of the operators needed are not stored for this target, {lacking[0].name} for one",
                hint=f"{self.profile_command()}, or validate without --stored",
            )
        if self.calibration_networks and self.row is None:
            raise PredictionError(
                f"no calibration of {self.campaign.space.name} at {self.campaign.image} is stored for this target",
                hint=f"{self.profile_command()}; or --calibration-networks 0 for the plain sum",
            )

    def jobs(self) -> list[Job]:
        return [*self.networks.values(), *(() if self.stored else self.operators.values())]

    # Predictions.

    def estimates(self) -> dict[OpSpec, Estimate]:
        return {spec: estimate(job.ratios) for spec, job in self.operators.items() if job.ratios}

    def usable(self) -> list[Network]:
        return [
            network
            for network in self.judged
            if self.networks[network.id].ratios
            and not missing(network.decomposition, {spec: 0 for spec, job in self.operators.items() if job.ratios})
        ]

    def reliabilities(self, networks: Sequence[Network], calibration: Calibration) -> tuple[float, float]:
        """Of the measurements and of the predictions; NaN where there are too few visits."""
        measured = {network.id: self.networks[network.id].ratios for network in networks}
        specs = sorted({spec for network in networks for spec in network.decomposition.specs})
        visits = {spec: self.operators[spec].ratios for spec in specs}
        if len(networks) < MIN_NETWORKS or min(map(len, [*measured.values(), *visits.values()])) < 2:
            return math.nan, math.nan
        counts = np.array([[used[spec] for spec in specs] for used in map(_counted, networks)])
        scales = np.array([calibration.operator_ratio(spec, 1.0) for spec in specs])
        constant = np.array([pair_sum(network, calibration) for network in networks])
        weights = counts * scales

        def predict_all(ratios: Mapping[OpSpec, float]) -> list[float]:
            values = weights @ np.array([ratios[spec] for spec in specs]) + constant
            return [float(value) for value in values]

        return split_half_reliability(measured), prediction_reliability(predict_all, visits)

    def enough(self, rounds: int) -> bool:
        """Whether noise is a small part of what keeps r from 1: the ceiling is three quarters of the way to it."""
        if rounds < self.plan.min_rounds:
            return False
        networks = self.usable()
        if not networks:
            return True
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
    validator = _Validator(campaign, plan, seed, stored, bound, calibration_networks, dict(named or {}))
    validator.prepare(networks)
    run_id, outcome = campaign.run(
        "validate",
        validator.jobs(),
        plan,
        seed=seed,
        enough=validator.enough,
        details={
            "networks": networks,
            "stored": stored,
            "calibrating": [] if stored else [network.id for network in validator.calibrating],
        },
    )
    calibration = _calibration(validator, run_id)
    return _conclude(validator, calibration, run_id, outcome, min_pearson, max_mape)


def _calibration(validator: _Validator, run_id: int) -> Calibration:
    if not validator.calibrating:
        return Calibration.identity()
    if validator.row is not None:
        return validator.row.calibration()
    fitted = calibrate(validator.campaign, validator.calibrating, validator.operators, validator.networks, run_id)
    if fitted is None:
        raise PredictionError(
            "too few of the calibration networks could be measured to fit a calibration",
            hint="raise --time-budget; or --calibration-networks 0 for the plain sum",
        )
    return fitted


def _conclude(
    validator: _Validator,
    calibration: Calibration,
    run_id: int,
    outcome: Outcome,
    min_pearson: float | None,
    max_mape: float | None,
) -> Validation:
    usable = validator.usable()
    ids = {network.id for network in usable}
    dropped = [
        (
            validator.name(network),
            outcome.failed.get(validator.networks[network.id].key, "it, or one of its operators, was not measured"),
        )
        for network in validator.judged
        if network.id not in ids
    ]
    if len(usable) < MIN_NETWORKS:
        raise PredictionError(
            f"only {len(usable)} of {len(validator.judged)} networks could be measured and predicted ({dropped[0][1]})",
            hint="raise --time-budget",
        )
    reference_ms = validator.campaign.reference_ms()
    estimates = validator.estimates()
    judged = [
        Judged(
            network=network,
            predicted=predict(network.decomposition, estimates, calibration, reference_ms),
            measured=estimate(validator.networks[network.id].ratios).scaled(reference_ms),
            name=validator.name(network),
            named=network.id in validator.names,
        )
        for network in usable
    ]
    try:
        figures = agreement([one.predicted.latency_ms for one in judged], [one.measured.value for one in judged])
        reliabilities = validator.reliabilities(usable, calibration)
    except ValueError as error:
        raise PredictionError(f"these networks cannot be compared: {error}") from None
    ceiling = noise_ceiling(*reliabilities) if not math.isnan(sum(reliabilities)) else math.nan
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
    )
