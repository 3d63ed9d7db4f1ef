"""What a report says, as plain data, and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from latency_db.calibration import Calibration
from latency_db.correlate import Agreement, Verdict


@dataclass(frozen=True, kw_only=True)
class OperatorShare:
    """One operator's part in a prediction.

    Attributes:
        name: the operator, readable.
        latency_ms: what it adds to the network, over all the times it runs, calibrated.
        rel_ci: half-width of the 95% confidence interval over the value; NaN or infinite where it is not known.
        count: how often the network runs it.
    """

    name: str
    latency_ms: float
    rel_ci: float
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class NetworkResult:
    """One network, predicted and measured.

    Attributes:
        measured_rel_ci: half-width of the measurement's 95% confidence interval over its value.
        flagged: fewer than two of its visits were clean, and it rests on all of them.
        breakdown: the prediction, operator by operator. What it lacks to ``predicted_ms`` are the terms of adjacent
            pairs.
    """

    name: str
    predicted_ms: float
    measured_ms: float
    measured_rel_ci: float
    breakdown: tuple[OperatorShare, ...] = ()
    flagged: bool = False

    @property
    def error(self) -> float:
        """predicted / measured − 1."""
        return self.predicted_ms / self.measured_ms - 1

    @property
    def pairs_ms(self) -> float:
        """What the terms of adjacent pairs add."""
        return self.predicted_ms - sum(share.latency_ms for share in self.breakdown)


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything that a report shows.

    Attributes:
        title: the heading.
        created_at: when, as an ISO 8601 string.
        target: what the latencies are of: device, backend, versions, precision, settings, environment.
        agreement: predictions against measurements.
        reliability_measured: of the networks' measurements, in [0, 1].
        reliability_predicted: of the predictions.
        noise_ceiling: the r that a perfect model would show.
        verdict: the outcome and the bounds it was judged by.
        networks: every network that was judged.
        calibration: what turned operators timed alone into networks.
        dropped: (name, reason) of every network that could not be judged.
        protocol: how it was measured: rounds, samples, flags, why it stopped.
        flags: how many visits of the run carry each flag.
        left_out: visits that do not count, because they were throttled or contended.
        flagged_operators: operators that rest on such visits for lack of others.
    """

    title: str
    created_at: str
    target: Mapping[str, str]
    agreement: Agreement
    reliability_measured: float
    reliability_predicted: float
    noise_ceiling: float
    verdict: Verdict
    networks: tuple[NetworkResult, ...]
    calibration: Calibration
    dropped: tuple[tuple[str, str], ...] = ()
    protocol: Mapping[str, str]
    flags: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    flagged_operators: int = 0

    @property
    def flagged_networks(self) -> int:
        """Networks that rest on such visits."""
        return sum(network.flagged for network in self.networks)

    def worst(self, count: int = 5) -> tuple[NetworkResult, ...]:
        """The networks with the largest |predicted/measured − 1|, the worst first."""
        return tuple(sorted(self.networks, key=lambda network: -abs(network.error))[:count])


def report_json(data: ReportData) -> dict[str, Any]:
    """The report as JSON values. What is not a finite number is null.

    The figures of :class:`~latency_db.correlate.Agreement` stand at the top level under their own names; ``networks``
    and ``dropped`` are counts.
    """
    document = {
        **asdict(data.agreement),
        "dropped": len(data.dropped),
        "noise_ceiling": data.noise_ceiling,
        "target": dict(data.target),
        "verdict": {
            "outcome": data.verdict.outcome.value,
            "exit_code": data.verdict.exit_code,
            "reasons": list(data.verdict.reasons),
            "min_pearson": data.verdict.min_pearson,
            "max_mape": data.verdict.max_mape,
        },
        "reliability_measured": data.reliability_measured,
        "reliability_predicted": data.reliability_predicted,
        "calibration": _calibration_json(data.calibration),
        "results": [_result_json(network) for network in data.networks],
        "protocol": dict(data.protocol),
        "flags": dict(data.flags),
        "left_out": data.left_out,
        "flagged": {"networks": data.flagged_networks, "operators": data.flagged_operators},
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _calibration_json(calibration: Calibration) -> dict[str, Any]:
    return {
        "method": calibration.method,
        "cv_error": calibration.cv_error,
        "networks": calibration.networks,
        "terms": [
            {key: value for key, value in term._asdict().items() if value is not None}
            for term in calibration.to_terms()
        ],
    }


def _result_json(network: NetworkResult) -> dict[str, Any]:
    return {**asdict(network), "error": network.error}


def _finite(value: Any) -> Any:
    """The same, with null for NaN and the infinities, and plain floats for numpy's."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
