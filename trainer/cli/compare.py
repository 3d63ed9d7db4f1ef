"""``trainer compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import (
    IMAGE_SIZE,
    ProgressLine,
    json_option,
    make_backend,
    open_store,
    print_json,
    print_table,
    warn_of_flagged,
)
from latency_db.errors import InputError
from latency_db.keys import ImageSize
from trainer.cli.timing import outcome_json, outcome_line, target_json, target_line, timing_options

if TYPE_CHECKING:
    from trainer.compare import Comparison, Row

USUAL_SIZE = ImageSize(1024, 2048)
HEADERS = ("network", "params M", "GMAC", "logits", "latency ms", "±95%", "FPS", "vs. human", "paper's FPS")


@click.command()
@click.argument("networks", nargs=-1, metavar="[NETWORK]...")
@timing_options("30m")
@click.option(
    "--image-size",
    "images",
    type=IMAGE_SIZE,
    multiple=True,
    help="Network input, height x width; repeatable, all in one run.  [default: 1024x2048]",
)
@click.option("--own-resolution", is_flag=True, help="Each network at the resolution that the paper's Table 4 has.")
@click.option(
    "--network",
    "own",
    multiple=True,
    metavar="PKG.MOD:FACTORY",
    help="What makes the module, where a NETWORK is a trained module of your own. Repeatable.",
)
@click.option("--classes", type=click.IntRange(min=1), help="Classes of untrained networks.  [default: 19]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for comparison.png, a bar chart, and comparison.json.",
)
@json_option
@click.pass_context
def compare(
    ctx: click.Context,
    networks: tuple[str, ...],
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    device: str | None,
    rel_ci: float,
    time_budget: float,
    remeasure: bool,
    seed: int,
    images: tuple[ImageSize, ...],
    own_resolution: bool,
    own: tuple[str, ...],
    classes: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure networks side by side on this machine, in shuffled rounds of one run.

    NETWORK is what `trainer bench` takes; without any, it is all of the zoo and fasterseg-student. "vs. human" is
    frames per second over those of the fastest human-designed network at the same size; the paper's FPS are of its own
    machine, at the resolution that stands with them. Every visit is stored as it is made: after Ctrl-C the same command
    goes on. Exit code 1 when a network could not be measured; the others are.
    """
    from latency_db.validation_report import prepare_report
    from latency_db.whole_networks import network_plan
    from trainer import compare as comparing
    from trainer.subject import find_subject

    try:
        plan = network_plan(rel_ci, time_budget)
    except ValueError as error:
        raise InputError(str(error)) from None
    subjects = [find_subject(name, classes=classes, own=own) for name in networks or comparing.default_names()]
    if not images and not own_resolution:
        images = (USUAL_SIZE,)
    found, unlisted = comparing.entries(subjects, images, own_resolution=own_resolution, named=bool(networks))
    for subject in unlisted:
        click.echo(f"{subject.name} is not in the paper's Table 4: not measured at a resolution of its own", err=True)
    if out is not None:
        prepare_report(out)
    backend = make_backend(backend_name, threads, settings)
    costs = comparing.count_costs(found)
    line = ProgressLine()
    try:
        comparison = comparing.compare(
            open_store(ctx),
            backend,
            found,
            costs,
            plan,
            device=device,
            seed=seed,
            remeasure=remeasure,
            report=line,
        )
    finally:
        line.end()
    latencies = [row.latency for row in comparison.rows if row.latency is not None]
    warn_of_flagged(sum(latency.flagged for latency in latencies), len(latencies), "networks")
    document = comparison_json(comparison)
    if as_json:
        print_json(document)
    else:
        _print(comparison)
    if out is not None:
        _write(out, comparison, document)
    failed = [row for row in comparison.rows if row.latency is None]
    for row in failed:
        click.echo(f"Error: {row.entry.subject.name} at {row.entry.image} was not measured: {row.reason}", err=True)
    if failed:
        ctx.exit(1)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """All of a comparison as JSON values."""
    return {
        "target": target_json(comparison.target),
        "results": [row.to_json() for row in comparison.rows],
        **outcome_json(comparison.outcome, comparison.run_id, comparison.kept_visits),
    }


def _print(comparison: Comparison) -> None:
    click.echo(f"on {target_line(comparison.target)}, one image at a time")
    for group, rows in comparison.groups.items():
        click.echo(f"\n{group}")
        # At the paper's resolutions each row has a size of its own.
        mixed = len({row.entry.image for row in rows}) > 1
        headers = ("size", *HEADERS) if mixed else HEADERS
        print_table(headers, [((str(row.entry.image),) if mixed else ()) + _cells(row) for row in rows])
    click.echo()
    click.echo(outcome_line(comparison.outcome, comparison.kept_visits))


def _cells(row: Row) -> tuple[str, ...]:
    latency, fps, relative, paper = row.latency, row.fps, row.relative_fps, row.paper
    return (
        row.entry.subject.name,
        f"{row.cost.parameters / 1e6:.3f}",
        f"{row.cost.macs / 1e9:.2f}",
        "x".join(map(str, row.cost.output_shape[2:])),
        f"{latency.value:.3f}{' flagged' if latency.flagged else ''}" if latency else "-",
        f"{latency.rel_ci:.1%}" if latency and latency.visits > 1 else "-",
        f"{fps:.2f}" if fps else "-",
        f"{relative:.2f}" if relative else "-",
        f"{paper.fps:g} @{paper.resolution[0]}x{paper.resolution[1]}" if paper else "-",
    )


def _write(folder: Path, comparison: Comparison, document: dict[str, Any]) -> None:
    from trainer.comparison_picture import render_comparison
    from trainer.runs.files import write_whole

    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "comparison.json", (text + "\n").encode())
    write_whole(folder / "comparison.png", render_comparison(comparison))
    click.echo(f"picture: {folder / 'comparison.png'}", err=True)
