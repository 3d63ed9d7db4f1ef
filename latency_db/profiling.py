"""``latency-db profile``: every operator of a space, and the calibration that goes with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backends.measure import Job, Outcome, Plan
from latency_db.calibrate import NetworkSample, fit
from latency_db.calibration import Calibration
from latency_db.calibration_row import CalibrationRow
from latency_db.campaign import CALIBRATION_SEED, Campaign, Network
from latency_db.errors import InputError
from latency_db.keys import OpSpec
from latency_db.rows import FlagCounts

_log = logging.getLogger(__name__)

DEFAULT_CALIBRATION_NETWORKS = 24
LEAST_SAMPLES = 3
"""Fewer networks are not worth a calibration."""
NETWORK_ROUNDS = 4
"""Networks take part in every fourth round of a profile: a visit to one costs as much as to ten operators."""


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """What a profiling run did.

    Attributes:
        run_id: its row; ``None`` where nothing was left to do.
        specs: operators that were asked for.
        measured: operators with a latency now.
        failed: operators that could not be run, with the reason.
        wide: operators whose interval is wider than asked for.
        median_rel_ci: over the measured operators.
        calibration: what was fitted, if anything was.
        outcome: how the loop ended.
        flags: what is said of the run's visits; None where there was no run.
        left_out: visits to operators and networks, earlier calls' included, that do not count.
        flagged: operators that rest on throttled or contended visits for lack of others.
    """

    run_id: int | None
    specs: int
    measured: int
    failed: dict[str, str]
    wide: int
    median_rel_ci: float | None
    calibration: Calibration | None
    outcome: Outcome | None
    flags: FlagCounts | None
    left_out: int
    flagged: int


def select(specs: Sequence[OpSpec], only: Sequence[str]) -> list[OpSpec]:
    """The specs that one of the patterns names.

    A pattern is ``FIELD=VALUE`` terms joined by commas, all of which must hold: ``op=conv_x2,s=8``.

    Raises:
        InputError: an unknown field, or nothing matches.
    """
    if not only:
        return list(specs)
    chosen = [spec for spec in specs if any(_matches(spec, pattern) for pattern in only)]
    if not chosen:
        raise InputError(f"no operator of the space matches {' or '.join(only)}")
    return chosen


def _matches(spec: OpSpec, pattern: str) -> bool:
    for term in pattern.split(","):
        name, sign, value = term.partition("=")
        fields = ("op", "s", "c_in", "c_out", "stride", "chi_in", "chi_out", "branches")
        if not sign or name not in fields:
            raise InputError(f"--only {pattern!r}: {term!r} is not FIELD=VALUE with a field of {', '.join(fields)}")
        if str(getattr(spec, name)) != value:
            return False
    return True


def profile(
    campaign: Campaign,
    plan: Plan,
    *,
    only: Sequence[str] = (),
    remeasure: bool = False,
    calibration_networks: int = DEFAULT_CALIBRATION_NETWORKS,
    seed: int = 0,
    noted: Mapping[str, object] | None = None,
) -> ProfileResult:
    """Measure the space's operators, and networks to calibrate with, until each is known well enough or time is up.

    Goes on where an earlier call stopped; ``remeasure`` begins a new series instead.

    Args:
        campaign: what to measure, on what, into which database.
        plan: when to stop.
        only: patterns as :func:`select` takes them; nothing is calibrated then.
        remeasure: do not build on what is there.
        calibration_networks: how many networks to measure for the calibration; 0 for none.
        seed: of the order within rounds.
        noted: what else the run's row is to say of where it comes from.
    """
    specs = select(campaign.space.specs(campaign.image, campaign.batch), only)
    plans = {"only": list(only), "remeasure": remeasure}
    anew = _series_to_remeasure(campaign, plans) if remeasure else None
    operators = campaign.operator_jobs(specs, anew=anew)
    networks = campaign.draw(0 if only else calibration_networks, CALIBRATION_SEED)
    network_jobs = campaign.network_jobs(networks, anew=anew, every=NETWORK_ROUNDS)
    jobs = [*operators.values(), *network_jobs.values()]
    if all(job.is_known(plan) for job in jobs):
        # All is measured; but a run that was killed just before it was calibrated has left that to this one.
        wanted = bool(networks) and stored_row(campaign) is None
        fitted = calibrate(campaign, networks, operators, network_jobs) if wanted else None
        return _result(campaign, None, jobs, operators, None, fitted)
    run_id, outcome = campaign.run(
        "profile",
        jobs,
        plan,
        series=anew,
        seed=seed,
        details={**(noted or {}), **plans, "calibrating": [network.id for network in networks]},
    )
    calibration = calibrate(campaign, networks, operators, network_jobs, run_id) if networks else None
    return _result(campaign, run_id, jobs, operators, outcome, calibration)


def _series_to_remeasure(campaign: Campaign, plans: Mapping[str, object]) -> int:
    """A series of its own; or the one that the same call began and did not end."""
    mine = {**plans, "image": str(campaign.image), "batch": campaign.batch, "space": campaign.space.name}
    for run in reversed(campaign.store.runs(campaign.target_id)):
        if run.kind == "profile" and all(run.plan.get(name) == value for name, value in mine.items()):
            return run.series if run.status != "completed" else campaign.newest_series + 1
    return campaign.newest_series + 1


def _result(
    campaign: Campaign,
    run_id: int | None,
    jobs: Sequence[Job],
    operators: dict[OpSpec, Job],
    outcome: Outcome | None,
    calibration: Calibration | None,
) -> ProfileResult:
    found = [job.estimate() for job in operators.values() if job.ratios]
    finite = [one.rel_ci for one in found if np.isfinite(one.rel_ci)]
    keys = {job.key: spec for spec, job in operators.items()}
    failed = outcome.failed if outcome else {}
    return ProfileResult(
        run_id=run_id,
        specs=len(operators),
        measured=len(found),
        failed={keys[key].name: reason for key, reason in failed.items() if key in keys},
        wide=sum(key in keys for key in outcome.wide) if outcome else 0,
        median_rel_ci=float(np.median(finite)) if finite else None,
        calibration=calibration,
        outcome=outcome,
        flags=None if run_id is None else campaign.store.flag_counts(run_id),
        left_out=sum(job.visited.counted.left_out for job in jobs),
        flagged=sum(one.flagged for one in found),
    )


def calibrate(
    campaign: Campaign,
    networks: Sequence[Network],
    operators: dict[OpSpec, Job],
    network_jobs: dict[int, Job],
    run_id: int | None = None,
) -> Calibration | None:
    """Fit a calibration to networks and operators just measured, and store it as the target's newest.

    Returns ``None``, and stores nothing, where fewer than three networks and all their operators were measured.
    """
    ratios = {spec: job.estimate().value for spec, job in operators.items() if job.ratios}
    measured = [
        (network.decomposition, network_jobs[network.id].estimate())
        for network in networks
        if network_jobs[network.id].ratios and all(spec in ratios for spec in network.decomposition.specs)
    ]
    clean = [(network, estimate) for network, estimate in measured if not estimate.flagged]
    if len(clean) < LEAST_SAMPLES <= len(measured):
        _log.warning(
            "the calibration rests on networks that were throttled or contended whenever they were visited: %d of %d",
            len(measured) - len(clean),
            len(measured),
        )
        clean = measured
    samples = [NetworkSample(network.specs, network.edges, estimate.value) for network, estimate in clean]
    if len(samples) < LEAST_SAMPLES:
        return None
    calibration = fit(samples, ratios)
    campaign.store.add_calibration(
        CalibrationRow(
            target_id=campaign.target_id,
            space=campaign.space.name,
            space_digest=campaign.space_digest,
            image=campaign.image,
            batch=campaign.batch,
            method=calibration.method,
            cv_error=calibration.cv_error,
            networks=calibration.networks,
            run_id=run_id,
            terms=calibration.to_terms(),
        )
    )
    return calibration


def stored_row(campaign: Campaign) -> CalibrationRow | None:
    """The target's newest calibration for this space and size."""
    return campaign.store.calibration(
        campaign.target_id, campaign.space.name, campaign.space_digest, campaign.image, campaign.batch
    )
