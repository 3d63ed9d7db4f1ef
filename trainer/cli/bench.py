"""``trainer bench``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import (
    ProgressLine,
    image_option,
    json_option,
    make_backend,
    open_store,
    print_json,
    require_device,
    warn_of_flagged,
)
from latency_db.keys import ImageSize
from trainer.cli.subject import subject_argument
from trainer.cli.timing import outcome_json, outcome_line, target_json, target_line, timing_options

if TYPE_CHECKING:
    from backends.samples import Estimate
    from trainer.bench import Bench
    from trainer.subject import Subject


@click.command()
@subject_argument
@timing_options("20m")
@image_option("1024x2048")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images at once.")
@click.option(
    "--stored", is_flag=True, help="Predict from operators and calibration stored earlier; measure the network only."
)
@click.option(
    "--calibration-networks",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="Random networks of the space to calibrate the prediction with; 0: the plain sum.",
)
@click.option(
    "--space-setting",
    "space_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the space that those are from, JSON or text. Repeatable.  [default: as the network has it]",
)
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    named: str,
    classes: int | None,
    network: str | None,
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    device: str | None,
    rel_ci: float,
    time_budget: float,
    remeasure: bool,
    seed: int,
    image: ImageSize,
    batch: int,
    stored: bool,
    calibration_networks: int,
    space_settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure a network on this machine, and put it beside its prediction.

    NETWORK is the file of a trained network, the folder of a training that has ended, or, untrained, a built-in
    architecture, a network of the zoo, the JSON file of an architecture, or package.module:factory. A network of the
    search space is predicted as a sum over its operators, which are measured in the same shuffled rounds; others are
    measured only. Every visit is stored as it is made: after Ctrl-C the same command goes on.
    """
    from latency_db import spaces
    from trainer.bench import Timing
    from trainer.bench import bench as run_bench
    from trainer.subject import find_subject

    timing = Timing(
        rel_ci=rel_ci,
        time_budget_s=time_budget,
        batch=batch,
        seed=seed,
        stored=stored,
        calibration_networks=calibration_networks,
        remeasure=remeasure,
        space_settings=spaces.parse_settings(space_settings),
    )
    subject = find_subject(named, classes=classes, network=network)
    backend = make_backend(backend_name, threads, settings)
    store = open_store(ctx)
    if stored:
        require_device(store, device)
    line = ProgressLine()
    try:
        found = run_bench(store, backend, subject, image, timing, device=device, report=line)
    finally:
        line.end()
    warn_of_flagged(int(found.measured.flagged), 1, "networks")
    if as_json:
        print_json(_document(subject, image, batch, found))
    else:
        _print(subject, image, batch, found)


def _error(found: Bench) -> float | None:
    return found.predicted.latency_ms / found.measured.value - 1 if found.predicted else None


def _document(subject: Subject, image: ImageSize, batch: int, found: Bench) -> dict[str, Any]:
    predicted = found.predicted
    return {
        "network": subject.spec.to_json(),
        "trained": subject.trained is not None,
        "num_classes": subject.num_classes,
        "image_size": str(image),
        "batch": batch,
        "target": target_json(found.target),
        "measured_ms": found.measured.value,
        "measured_rel_ci": _finite(found.measured.rel_ci),
        "measured_visits": found.measured.visits,
        "measured_left_out": found.measured.left_out,
        "measured_flagged": found.measured.flagged,
        "fps": 1e3 * batch / found.measured.value,
        "predicted_ms": predicted.latency_ms if predicted else None,
        "predicted_rel_ci": _finite(predicted.rel_ci) if predicted else None,
        "error": _error(found),
        "calibration": None
        if found.calibration is None
        else {
            "method": found.calibration.method,
            "cv_error": _finite(found.calibration.cv_error),
            "networks": found.calibration.networks,
        },
        **outcome_json(found.outcome, found.run_id, found.kept_visits),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(rel_ci: float) -> str:
    return f"±{rel_ci:.1%}" if math.isfinite(rel_ci) else "±?"


def _left_out(measured: Estimate) -> str:
    if measured.flagged:
        return ", throttled or contended for lack of others"
    return f" ({measured.left_out} more were throttled or contended)" if measured.left_out else ""


def _print(subject: Subject, image: ImageSize, batch: int, found: Bench) -> None:
    measured, predicted, calibration = found.measured, found.predicted, found.calibration
    images = f", batch {batch}" if batch > 1 else ""
    click.echo(f"{subject.name} at {image}{images} on {target_line(found.target)}")
    click.echo(
        f"measured:  {measured.value:.4f} ms {_interval(measured.rel_ci)}, {1e3 * batch / measured.value:.2f} FPS, "
        f"from {measured.visits} visits{_left_out(measured)}"
    )
    error = _error(found)
    if predicted is None or calibration is None or error is None:
        click.echo("predicted: not a network of the search space, so there is no prediction")
    else:
        click.echo(
            f"predicted: {predicted.latency_ms:.4f} ms {_interval(predicted.rel_ci)} of its operators ({error:+.2%})"
        )
        if calibration.networks:
            click.echo(f"calibration: {calibration.method}, from {calibration.networks} other networks")
        else:
            click.echo("calibration: none, the plain sum of the operators")
    click.echo(outcome_line(found.outcome, found.kept_visits))
