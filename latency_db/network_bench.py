"""Single networks of a space, predicted and measured: a validation without the correlation, which one cannot have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backends.measure import Outcome, Plan
from latency_db.calibration import Calibration
from latency_db.campaign import Campaign, Network
from latency_db.errors import PredictionError
from latency_db.interrupted import interrupted_visits
from latency_db.predict import predict
from latency_db.profiling import DEFAULT_CALIBRATION_NETWORKS
from latency_db.space import Architecture
from latency_db.trial import Judged, Trial

if TYPE_CHECKING:
    from torch import nn

WHAT = "bench"


@dataclass(frozen=True, kw_only=True)
class NetworkBench:
    """What was found.

    Attributes:
        judged: every network that could be measured and predicted.
        dropped: the others: (name, reason).
        calibration: what the predictions used.
        kept_visits: visits of the networks taken over from runs like it that were cut short.
        run_id: the run.
        outcome: how it ended.
    """

    judged: list[Judged]
    dropped: list[tuple[str, str]]
    calibration: Calibration
    kept_visits: int
    run_id: int
    outcome: Outcome


@dataclass
class _Bench(Trial):
    def enough(self, rounds: int) -> bool:
        """Whether measurements and predictions are as certain as asked for, and there is enough to calibrate with."""
        few = self.plan.min_rounds
        # After a full round, a network without a visit is one that cannot be run: there is nothing to wait for.
        jobs = [job for job in self.networks.values() if job.ratios]
        if rounds < few or self.lacks_clean_visits() or any(len(job.ratios) < few for job in jobs):
            return False
        return all(self._is_certain(network) for network in self.usable())

    def _is_certain(self, network: Network) -> bool:
        measured = self.networks[network.id].estimate()
        predicted = predict(network.decomposition, self.estimates(), Calibration.identity(), 1.0)
        return max(measured.rel_ci, predicted.rel_ci) <= self.plan.rel_ci

    def run_instead(self, modules: Mapping[str, Callable[[], nn.Module]]) -> None:
        """Run these modules, by the networks' names, in the place of ones with random weights."""
        for network in self.judged:
            if self.name(network) in modules:
                job = self.networks[network.id]
                job.workload = replace(job.workload, build=modules[self.name(network)])

    def resume(self, mine: Mapping[str, object]) -> int:
        """Take over visits of runs like this one that were cut short; returns how many."""
        begun = interrupted_visits(self.campaign.store, self.campaign.target_id, mine)
        kept = 0
        for network in self.judged:
            if network.id in begun:
                job = self.networks[network.id]
                job.visited, job.next_round = begun[network.id].visited, begun[network.id].next_round
                kept += len(job.visited)
        return kept


def bench(
    campaign: Campaign,
    plan: Plan,
    named: Mapping[str, Architecture],
    *,
    modules: Mapping[str, Callable[[], nn.Module]] | None = None,
    stored: bool = False,
    calibration_networks: int = DEFAULT_CALIBRATION_NETWORKS,
    remeasure: bool = False,
    seed: int = 0,
) -> NetworkBench:
    """Measure networks end to end, predict each as a sum of its operators.

    Operators and the networks that the calibration is fitted to take part in the same shuffled rounds, as in
    :func:`latency_db.validation.validate`, unless ``stored``.

    Args:
        campaign: the space, the target, the database.
        plan: when to stop; ``rel_ci`` is for the networks and for their predictions.
        named: the networks, by what they are called.
        modules: what builds them, in eval mode, where not random weights are to run but others.
        stored: predict from operators and calibration of the database, and measure the networks alone.
        calibration_networks: how many other networks to fit the calibration to; 0: predict the plain sum.
        remeasure: do not go on with a run of the same networks that was cut short.
        seed: of the order within rounds.

    Raises:
        InputError: the stored calibration was fitted to one of the networks.
        PredictionError: stored operators are missing, or too few networks could be measured.
    """
    trial = _Bench(campaign, plan, seed, stored, calibration_networks, dict(named), always=False)
    trial.prepare(0)
    trial.run_instead(modules or {})
    mine = {"what": WHAT, "benched": sorted(network.id for network in trial.judged), "stored": stored}
    kept = 0 if remeasure else trial.resume(mine)
    run_id, outcome = campaign.run(
        "validate",
        trial.jobs(),
        plan,
        seed=seed,
        enough=None if stored else trial.enough,
        details={**trial.details(0), **mine},
    )
    dropped = trial.dropped(outcome)
    if not trial.usable():
        raise PredictionError(
            f"{dropped[0][0]} could not be measured and predicted: {dropped[0][1]}", hint="raise --time-budget"
        )
    calibration = trial.calibration(run_id)
    return NetworkBench(
        judged=trial.results(calibration),
        dropped=dropped,
        calibration=calibration,
        kept_visits=kept,
        run_id=run_id,
        outcome=outcome,
    )
