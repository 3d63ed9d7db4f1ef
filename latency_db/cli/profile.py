"""``latency-db profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import ProgressLine, json_option, open_store, print_json
from latency_db.cli.profile_options import profile_options, profile_request

if TYPE_CHECKING:
    from latency_db.campaign import Campaign
    from latency_db.profiling import ProfileResult


@click.command()
@profile_options()
@json_option
@click.pass_context
def profile(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Measure every operator of a space on this machine.

    Rounds over all operators in shuffled order, until each one's confidence interval is tight enough or the time is up.
    Every visit is stored as it is made: after Ctrl-C, or worse, the same command goes on. Exit code 1 when an operator
    could not be measured; the others are.
    """
    request = profile_request(**options)
    line = ProgressLine()
    campaign = request.campaign(open_store(ctx), line)
    try:
        result = request.run(campaign)
    finally:
        line.end()
    if as_json:
        print_json(_document(campaign, result))
    else:
        _print(campaign, result)
    for reason in result.failed.values():
        click.echo(f"Error: not measured: {reason}", err=True)
    if result.failed or result.measured == 0:
        ctx.exit(1)


def _document(campaign: Campaign, result: ProfileResult) -> dict[str, object]:
    outcome, calibration = result.outcome, result.calibration
    return {
        "target": {
            "device": campaign.target.device,
            "backend": campaign.target.backend,
            "runtime_version": campaign.target.runtime_version,
            "precision": campaign.target.precision,
            "settings": dict(campaign.target.settings),
        },
        "space": campaign.space.name,
        "image_size": str(campaign.image),
        "run": result.run_id,
        "specs": result.specs,
        "measured": result.measured,
        "failed": result.failed,
        "wide": result.wide,
        "median_rel_ci": result.median_rel_ci,
        "rounds": outcome.rounds if outcome else 0,
        "visits": outcome.visits if outcome else 0,
        "elapsed_s": outcome.elapsed_s if outcome else 0.0,
        "stopped": outcome.reason if outcome else "nothing left to do",
        "calibration": None
        if calibration is None
        else {
            "method": calibration.method,
            "cv_error": calibration.cv_error,
            "networks": calibration.networks,
        },
    }


def _print(campaign: Campaign, result: ProfileResult) -> None:
    target = campaign.target
    click.echo(
        f"{result.measured} of {result.specs} operators of {campaign.space.name} at {campaign.image} "
        f"on {target.device} ({target.backend} {target.runtime_version}, {target.precision})"
    )
    if result.outcome is None:
        click.echo("Nothing left to measure; --remeasure begins a new series.")
        return
    outcome = result.outcome
    click.echo(
        f"{outcome.visits} visits in {outcome.rounds} full rounds, {outcome.elapsed_s:.0f} s; stopped: {outcome.reason}"
    )
    if result.median_rel_ci is not None:
        click.echo(f"median 95% interval ±{result.median_rel_ci:.2%}; {result.wide} operators wider than asked for")
    if result.calibration is not None:
        calibration = result.calibration
        click.echo(
            f"calibration: {calibration.method}, from {calibration.networks} networks, "
            f"cross-validated error {calibration.cv_error:.2%}"
        )
