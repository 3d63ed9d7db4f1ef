"""A validation as the data of a report."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from backends.environment import describe
from latency_db.campaign import Campaign
from latency_db.errors import InputError, LatencyDbError
from latency_db.report import NetworkResult, OperatorShare, ReportData, report_json
from latency_db.trial import Judged
from latency_db.validation import Validation


def report_data(campaign: Campaign, validation: Validation) -> ReportData:
    """Everything that the page shows."""
    target = campaign.target
    environment = describe()
    return ReportData(
        title=f"Predicted against measured: {target.device}, {target.backend}, {campaign.space.name}, {campaign.image}",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        target={
            "device": target.device,
            "device name": target.device_name,
            "backend": target.backend,
            "runtime": f"{target.runtime} {target.runtime_version}",
            "precision": target.precision,
            **{f"setting {name}": str(value) for name, value in target.settings.items()},
            "fingerprint": target.fingerprint,
            **{name: str(value) for name, value in environment.items()},
        },
        agreement=validation.agreement,
        reliability_measured=validation.reliability_measured,
        reliability_predicted=validation.reliability_predicted,
        noise_ceiling=validation.ceiling,
        verdict=validation.verdict,
        networks=tuple(_network(one) for one in validation.judged),
        flags=dict(validation.flags.by_flag),
        left_out=validation.left_out,
        flagged_operators=validation.flagged_operators,
        calibration=validation.calibration,
        dropped=tuple(validation.dropped),
        protocol=_protocol(campaign, validation),
    )


def _protocol(campaign: Campaign, validation: Validation) -> dict[str, str]:
    outcome = validation.outcome
    return {
        "space": f"{campaign.space.name} {json.dumps(dict(campaign.space.settings))}",
        "image size": f"{campaign.image}, batch {campaign.batch}",
        "operators": "stored earlier" if validation.stored else "measured in the same rounds as the networks",
        "rounds": str(outcome.rounds),
        "visits": str(outcome.visits),
        "flagged visits": validation.flags.line,
        "left out of all estimates": f"{validation.left_out} throttled or contended visits",
        "fewer than two clean visits": _flagged(validation),
        "visits per network": _visits_per_network(validation),
        "stopped because": outcome.reason,
        "took": f"{outcome.elapsed_s:.0f} s",
        "1 unit of ratio": f"{validation.reference_ms:.4f} ms, the undisturbed time of the reference workload",
    }


def _flagged(validation: Validation) -> str:
    networks = validation.flagged_networks
    if not networks and not validation.flagged_operators:
        return "none: every latency rests on clean visits"
    return (
        f"{len(networks)} of {len(validation.judged)} networks and {validation.flagged_operators} operators, whose "
        "latencies rest on throttled or contended visits"
    )


def _visits_per_network(validation: Validation) -> str:
    counts = [one.measured.visits for one in validation.judged]
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _network(one: Judged) -> NetworkResult:
    shares: dict[str, OperatorShare] = {}
    counts = Counter(part.spec for part in one.predicted.parts)
    for part in one.predicted.parts:
        known = shares.get(part.spec.name)
        shares[part.spec.name] = OperatorShare(
            name=part.spec.name,
            latency_ms=part.latency_ms + (known.latency_ms if known else 0.0),
            rel_ci=part.rel_ci,
            count=counts[part.spec],
        )
    return NetworkResult(
        name=one.name,
        predicted_ms=one.predicted.latency_ms,
        measured_ms=one.measured.value,
        measured_rel_ci=one.measured.rel_ci,
        flagged=one.measured.flagged,
        breakdown=tuple(sorted(shares.values(), key=lambda share: -share.latency_ms)),
    )


def prepare_report(folder: Path) -> None:
    """Make the folder and see that a report can be written: before measuring for minutes, not after.

    Raises:
        InputError: it cannot be written to.
        LatencyDbError: matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise LatencyDbError("a report needs matplotlib", hint="pip install 'latency-db[report]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write the report to {folder}: {error.strerror or error}") from None


def write_report(folder: Path, data: ReportData) -> None:
    """``report.html``, ``report.json`` and ``validation.png`` in a folder, which is made if need be.

    Raises:
        InputError: it cannot be written.
        LatencyDbError: matplotlib is missing.
    """
    from latency_db.report.figure import scatter_png
    from latency_db.report.page import write_html

    predicted = [network.predicted_ms for network in data.networks]
    measured = [network.measured_ms for network in data.networks]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scatter_png(
            predicted,
            measured,
            data.agreement,
            data.noise_ceiling,
            data.title.split(": ", 1)[-1],
            folder / "validation.png",
        )
        write_html(folder / "report.html", data)
        document = json.dumps(report_json(data), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "report.json").write_text(document + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the report to {folder}: {error.strerror or error}") from None
