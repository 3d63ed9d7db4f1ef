"""``latency-db profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latency_db.cli.building import build_and_tell, build_options, target_document
from latency_db.cli.common import ProgressLine, json_option, make_builder, open_store, print_json, warn_of_flagged
from latency_db.cli.profile_options import profile_options, profile_request
from latency_db.errors import InputError

if TYPE_CHECKING:
    from latency_db.campaign import Campaign
    from latency_db.keys import ImageSize
    from latency_db.profiling import ProfileResult

_MEASURING = ("device", "rel_ci", "time_budget", "remeasure", "calibration_networks", "seed", "lock_clocks")
_BUILDING = ("networks",)
"""Options of one of the two modes."""


@click.command()
@profile_options()
@build_options
@json_option
@click.pass_context
def profile(ctx: click.Context, /, build_only: bool, networks: int, as_json: bool, **options: Any) -> None:
    """Measure every operator of a space on this machine.

    Rounds over all operators in shuffled order, until each one's confidence interval is tight enough or the time is up.
    Every visit is stored as it is made: after Ctrl-C, or worse, the same command goes on. Exit code 1 when an operator
    could not be measured; the others are.

    With --build-only no latency is written, and no GPU is needed: an operator or a network that the backend's compiler
    refuses is a failure in the database, in the compiler's own words, and exit code 1.
    """
    _refuse_meaningless(ctx, build_only)
    if build_only:
        _build(ctx, networks, as_json, **options)
        return
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
    warn_of_flagged(result.flagged, result.measured, "operators")
    for reason in result.failed.values():
        click.echo(f"Error: not measured: {reason}", err=True)
    if result.failed or result.measured == 0:
        ctx.exit(1)


def _build(
    ctx: click.Context,
    networks: int,
    as_json: bool,
    *,
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    space_name: str,
    space_settings: tuple[str, ...],
    batch: int,
    image: ImageSize,
    only: tuple[str, ...],
    **measuring: object,
) -> None:
    """With ``--build-only``; what only measuring takes was refused already."""
    from latency_db import spaces

    space = spaces.create(space_name, **spaces.parse_settings(space_settings))
    builder = make_builder(backend_name, threads, settings)
    build_and_tell(ctx, builder, space, image, batch=batch, networks=networks, only=only, as_json=as_json)


def _refuse_meaningless(ctx: click.Context, build_only: bool) -> None:
    """Options that would be without effect are a mistake."""
    ineffective = _MEASURING if build_only else _BUILDING
    for option in ctx.command.params:
        given = option.name in ineffective and ctx.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
        if given:
            raise InputError(f"{option.opts[0]} has no meaning {'with' if build_only else 'without'} --build-only")


def _document(campaign: Campaign, result: ProfileResult) -> dict[str, object]:
    outcome, calibration = result.outcome, result.calibration
    return {
        "target": target_document(campaign.target),
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
        "flags": dict(result.flags.by_flag) if result.flags else {},
        "left_out": result.left_out,
        "flagged": result.flagged,
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
    if result.flags is not None:
        click.echo(f"flagged visits: {result.flags.line}; {result.left_out} left out of all estimates")
    if result.median_rel_ci is not None:
        click.echo(f"median 95% interval ±{result.median_rel_ci:.2%}; {result.wide} operators wider than asked for")
    if result.calibration is not None:
        calibration = result.calibration
        click.echo(
            f"calibration: {calibration.method}, from {calibration.networks} networks, "
            f"cross-validated error {calibration.cv_error:.2%}"
        )
