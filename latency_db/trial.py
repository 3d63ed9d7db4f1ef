"""Networks of a space, predicted from operators and measured end to end in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.measure import Job, Outcome, Plan
from backends.samples import Estimate
from latency_db.calibration import Calibration
from latency_db.calibration_row import CalibrationRow
from latency_db.campaign import CALIBRATION_SEED, Campaign, Network
from latency_db.errors import InputError, PredictionError
from latency_db.keys import OpSpec
from latency_db.predict import Prediction, missing, predict
from latency_db.profile_command import profile_command
from latency_db.profiling import calibrate, stored_row
from latency_db.space import Architecture

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


@dataclass
class Trial:
    """What is measured for it, and what it says.

    Attributes:
        campaign: the space, the target, the database.
        plan: when to stop.
        seed: of the random networks.
        stored: predict from operators and calibration of the database, and measure networks alone.
        calibration_networks: how many other networks to fit the calibration to; 0: predict the plain sum.
        named: networks to judge, by what they are called.
        always: judge by networks that are measured in every round, however tight their intervals are.
    """

    campaign: Campaign
    plan: Plan
    seed: int
    stored: bool
    calibration_networks: int
    named: Mapping[str, Architecture] = field(default_factory=dict)
    always: bool = True
    names: dict[int, str] = field(default_factory=dict)
    calibrating: list[Network] = field(default_factory=list)
    judged: list[Network] = field(default_factory=list)
    operators: dict[OpSpec, Job] = field(default_factory=dict)
    networks: dict[int, Job] = field(default_factory=dict)
    row: CalibrationRow | None = None

    def prepare(self, count: int) -> None:
        """Find the networks and what they need.

        Args:
            count: how many random networks to judge beside the named ones.

        Raises:
            InputError: the space has too few networks, or the stored calibration knows one that is to be judged.
            PredictionError: stored operators or the stored calibration are missing.
        """
        campaign = self.campaign
        self.row = stored_row(campaign) if self.stored and self.calibration_networks else None
        asked = {network.id: network for network in map(campaign.network, self.named.values())}
        self.names = {campaign.network(architecture).id: name for name, architecture in self.named.items()}
        self.calibrating = campaign.draw(self.calibration_networks, CALIBRATION_SEED, exclude=asked)
        known = self._known_to_calibration()
        fitted = [self.names[id_] for id_ in asked if id_ in known]
        if fitted:
            raise InputError(
                f"the stored calibration was fitted to {fitted[0]} among others: it cannot be judged by it",
                hint="leave --stored out",
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
        self.networks = campaign.network_jobs(self.judged, stored=False, always=self.always)
        self.operators = campaign.operator_jobs(self._needed(), every=OPERATOR_ROUNDS)
        if self.stored:
            self._refuse_gaps()
        else:
            self.networks |= campaign.network_jobs(self.calibrating)

    def name(self, network: Network) -> str:
        """What to call a network that is judged."""
        return self.names.get(network.id, f"network {network.id}")

    def jobs(self) -> list[Job]:
        """What is to be measured."""
        return [*self.networks.values(), *(() if self.stored else self.operators.values())]

    def details(self, networks: int) -> dict[str, object]:
        """What the run's row says of it.

        Args:
            networks: how many random networks are judged.
        """
        return {
            "networks": networks,
            "stored": self.stored,
            "calibrating": [] if self.stored else [network.id for network in self.calibrating],
        }

    def _profile_command(self) -> str:
        campaign = self.campaign
        return profile_command(campaign.target, campaign.space, campaign.image, campaign.batch)

    def _known_to_calibration(self) -> set[int]:
        """Networks that a calibration is or was fitted to: they are never judged."""
        known = {network.id for network in self.calibrating}
        if self.row is not None:
            runs = [run for run in self.campaign.store.runs(self.campaign.target_id) if run.id == self.row.run_id]
            known.update(id_ for run in runs for id_ in run.plan.get("calibrating", ()))
        return known

    def _needed(self) -> list[OpSpec]:
        networks = self.judged if self.stored else [*self.judged, *self.calibrating]
        return sorted({spec for network in networks for spec in network.decomposition.specs})

    def _refuse_gaps(self) -> None:
        lacking = [spec for spec, job in self.operators.items() if not job.ratios]
        if lacking:
            raise PredictionError(
                f"{len(lacking)} of the operators needed are not stored for this target, {lacking[0].name} for one",
                hint=f"{self._profile_command()}, or leave --stored out",
            )
        if self.calibration_networks and self.row is None:
            raise PredictionError(
                f"no calibration of {self.campaign.space.name} at {self.campaign.image} is stored for this target",
                hint=f"{self._profile_command()}; or --calibration-networks 0 for the plain sum",
            )

    # What was found.

    def estimates(self) -> dict[OpSpec, Estimate]:
        """Of the operators that have a visit; ratios to the reference workload."""
        return {spec: job.estimate() for spec, job in self.operators.items() if job.ratios}

    def usable(self) -> list[Network]:
        """The networks to judge that are measured, and so are all their operators."""
        known = {spec: 0 for spec, job in self.operators.items() if job.ratios}
        return [
            network
            for network in self.judged
            if self.networks[network.id].ratios and not missing(network.decomposition, known)
        ]

    def flagged(self) -> tuple[list[OpSpec], list[Network]]:
        """What rests on throttled or contended visits for lack of others: operators, and networks that are judged."""
        return (
            [spec for spec, job in self.operators.items() if job.visited.counted.flagged],
            [network for network in self.judged if self.networks[network.id].visited.counted.flagged],
        )

    def lacks_clean_visits(self) -> bool:
        """Whether something that is measured does: it is visited as long as there is time."""
        operators, networks = self.flagged()
        jobs = [self.networks[network.id] for network in networks]
        if not self.stored:
            jobs += [self.operators[spec] for spec in operators]
        return not all(job.failed for job in jobs)

    def left_out(self) -> int:
        """Visits, stored ones included, that do not count."""
        jobs = [*self.networks.values(), *self.operators.values()]
        return sum(job.visited.counted.left_out for job in jobs)

    def dropped(self, outcome: Outcome) -> list[tuple[str, str]]:
        """The networks that cannot be judged: (name, reason)."""
        ids = {network.id for network in self.usable()}
        return [
            (
                self.name(network),
                outcome.failed.get(self.networks[network.id].key, "it, or one of its operators, was not measured"),
            )
            for network in self.judged
            if network.id not in ids
        ]

    def calibration(self, run_id: int) -> Calibration:
        """What the predictions use; where it is fitted, it is stored as the target's newest.

        Args:
            run_id: the run that measured.

        Raises:
            PredictionError: too few networks to fit it to.
        """
        if not self.calibrating:
            return Calibration.identity()
        if self.row is not None:
            return self.row.calibration()
        fitted = calibrate(self.campaign, self.calibrating, self.operators, self.networks, run_id)
        if fitted is None:
            raise PredictionError(
                "too few of the calibration networks could be measured to fit a calibration",
                hint="raise --time-budget; or --calibration-networks 0 for the plain sum",
            )
        return fitted

    def results(self, calibration: Calibration) -> list[Judged]:
        """Every usable network, predicted and measured."""
        reference_ms = self.campaign.reference_ms()
        estimates = self.estimates()
        return [
            Judged(
                network=network,
                predicted=predict(network.decomposition, estimates, calibration, reference_ms),
                measured=self.networks[network.id].estimate().scaled(reference_ms),
                name=self.name(network),
                named=network.id in self.names,
            )
            for network in self.usable()
        ]
