"""``latency-db validate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from latency_db.cli.architecture import read_architecture
from latency_db.cli.common import (
    DURATION,
    ProgressLine,
    backend_options,
    device_option,
    image_option,
    json_option,
    lock_clocks_option,
    make_backend,
    make_plan,
    open_store,
    print_json,
    require_device,
    space_options,
    warn_of_flagged,
)
from latency_db.errors import InputError
from latency_db.keys import ImageSize

if TYPE_CHECKING:
    from backends.gpu_clocks import Wanted
    from latency_db.report import ReportData
    from latency_db.trial import Judged


@click.command()
@backend_options
@device_option
@space_options
@image_option("256x512")
@lock_clocks_option
@click.option("--networks", type=int, default=60, show_default=True, help="Random networks to judge by.")
@click.option(
    "--architecture",
    "named",
    multiple=True,
    metavar="ARCH",
    help="Judge this one, too: its JSON file, or the name of a built-in one. Repeatable.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the networks and of the order.")
@click.option(
    "--rel-ci", type=float, default=0.01, show_default=True, help="Interval at which an operator is known well enough."
)
@click.option("--time-budget", type=DURATION, default="20m", show_default=True, help="Stop after this long.")
@click.option(
    "--stored", is_flag=True, help="Predict from operators and calibration stored earlier; measure networks only."
)
@click.option(
    "--calibration-networks",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="Other random networks to calibrate with; 0: the plain sum.",
)
@click.option(
    "--min-pearson", type=float, help="Exit with 1 when r is below; with 2 when noise does not let it be told."
)
@click.option("--max-mape", type=float, help="Exit with 1 when the mean absolute relative error, a fraction, is above.")
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), help="Folder for the page, picture and JSON."
)
@json_option
@click.pass_context
def validate(
    ctx: click.Context,
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    device: str | None,
    space_name: str,
    space_settings: tuple[str, ...],
    batch: int,
    image: ImageSize,
    lock_clocks: Wanted | None,
    networks: int,
    named: tuple[str, ...],
    seed: int,
    rel_ci: float,
    time_budget: float,
    stored: bool,
    calibration_networks: int,
    min_pearson: float | None,
    max_mape: float | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Check predictions against networks measured end to end.

    Samples networks, measures them in shuffled rounds interleaved with the operators they need, predicts each as a sum
    over operators, and compares. The networks that are judged take no part in any fit. Exit code 0: bounds met (or none
    given); 1: a bound missed; 2: inconclusive, because the noise ceiling is not above the bound.
    """
    from latency_db import spaces
    from latency_db.campaign import Campaign
    from latency_db.report import report_json
    from latency_db.validation import validate as run_validation
    from latency_db.validation_report import prepare_report, report_data, write_report

    plan = make_plan(rel_ci, time_budget)
    _check_bounds(min_pearson, max_mape)
    if report is not None:
        prepare_report(report)
    space = spaces.create(space_name, **spaces.parse_settings(space_settings))
    architectures = {name: read_architecture(name, space.builtin(), space.from_json) for name in named}
    line = ProgressLine()
    store = open_store(ctx)
    if stored:
        require_device(store, device)
    backend = make_backend(backend_name, threads, settings)
    campaign = Campaign(store, backend, space, image, batch, device, line, lock_clocks)
    try:
        validation = run_validation(
            campaign,
            plan,
            networks=networks,
            named=architectures,
            seed=seed,
            stored=stored,
            min_pearson=min_pearson,
            max_mape=max_mape,
            calibration_networks=calibration_networks,
        )
    finally:
        line.end()
    data = report_data(campaign, validation)
    warn_of_flagged(data.flagged_networks, len(data.networks), "networks")
    warn_of_flagged(data.flagged_operators, validation.operators, "operators")
    if as_json:
        print_json(report_json(data))
    else:
        _print(data, report)
        for one in validation.judged:
            if one.named:
                _print_named(one)
    if report is not None:
        write_report(report, data)
    ctx.exit(validation.verdict.exit_code)


def _check_bounds(min_pearson: float | None, max_mape: float | None) -> None:
    if min_pearson is not None and not 0 < min_pearson < 1:
        raise InputError(f"--min-pearson {min_pearson:g} is not between 0 and 1")
    if max_mape is not None and not 0 < max_mape < 1:
        raise InputError(f"--max-mape {max_mape:g} is not a fraction between 0 and 1")


def _print_named(one: Judged) -> None:
    predicted_ms, measured_ms = one.predicted.latency_ms, one.measured.value
    click.echo(
        f"{one.name}: predicted {predicted_ms:.4f} ms, measured {measured_ms:.4f} ms ±{one.measured.rel_ci:.1%} "
        f"({predicted_ms / measured_ms - 1:+.2%})"
    )


def _print(data: ReportData, report: Path | None) -> None:
    figures = data.agreement
    click.echo(data.title)
    click.echo(
        f"Pearson {figures.pearson:.4f} (noise ceiling {data.noise_ceiling:.4f}), Spearman {figures.spearman:.4f}, "
        f"over {figures.networks} networks with a spread of {figures.spread:.2f}"
    )
    click.echo(
        f"MAPE {figures.mape:.2%}, bias {figures.bias:+.2%}, worst {figures.max_error:.2%}; "
        f"{figures.within_5:.0%} within ±5%, {figures.within_10:.0%} within ±10%"
    )
    click.echo(f"measured = {figures.slope:.3f} · predicted {figures.intercept:+.3f} ms")
    calibration = data.calibration
    click.echo(
        f"calibration: {calibration.method}, from {calibration.networks} other networks; {len(data.dropped)} dropped"
    )
    for name, reason in data.dropped:
        click.echo(f"dropped: {name}: {reason}")
    click.echo(f"flagged visits: {data.protocol['flagged visits']}; {data.left_out} left out of all estimates")
    click.echo(f"stopped: {data.protocol['stopped because']}, after {data.protocol['took']}")
    click.echo(f"verdict: {data.verdict.outcome.value}")
    for reason in data.verdict.reasons:
        click.echo(f"  {reason}")
    if report is not None:
        click.echo(f"report: {report / 'report.html'}")
