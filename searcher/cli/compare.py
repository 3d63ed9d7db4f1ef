"""``searcher compare``: searches side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import json_option, print_json, print_table

if TYPE_CHECKING:
    from searcher.comparison import Compared
    from searcher.result import Derived


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path())
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    help="PNG to write: mIoU over latency, epoch by epoch, of all runs.",
)
@json_option
def compare(runs: tuple[str, ...], output: str | None, as_json: bool) -> None:
    """Show searches side by side, finished or not, by their folders.

    mIoU is the derived student's, with the supernet's weights. A run whose figures are of another device, target, image
    size, batch or data than the first one's is marked as not comparable.
    """
    from searcher.comparison import compare_runs
    from searcher.past_run import read_run

    compared = compare_runs([read_run(Path(run)) for run in runs])
    if output is not None:
        from searcher.tracks import render_collapse
        from trainer.runs.files import write_whole

        write_whole(Path(output), render_collapse([one.track() for one in compared]))
    if as_json:
        print_json([_document(one) for one in compared])
        return
    print_table(
        ("run", "device", "seed", "weights", "student ends at", "ms", "mIoU", "teacher ms", "epochs", "hours", ""),
        [_cells(one) for one in compared],
    )


def _cells(one: Compared) -> tuple[str, ...]:
    run, result = one.run, one.run.result
    student, teacher = (None, None) if result is None else (result.student, result.teacher)
    return (
        one.name,
        run.device,
        str(run.config.run.seed),
        run.weights,
        "-" if student is None else ", ".join(f"1/{s}" for s in student.branches),
        "-" if student is None else f"{student.latency_ms:.3f}",
        "-" if student is None or student.miou is None else f"{student.miou:.1%}",
        "-" if teacher is None else f"{teacher.latency_ms:.3f}",
        f"{len(run.epochs)}/{run.config.schedule.epochs}",
        f"{run.seconds / 3600:.2f}",
        one.note,
    )


def _document(one: Compared) -> dict[str, Any]:
    run, result = one.run, one.run.result
    return {
        "run": str(run.folder.path),
        "name": one.name,
        "device": run.device,
        "target": None if result is None else result.target,
        "image_size": run.config.latency.image_size,
        "batch": run.config.latency.batch,
        "dataset": run.config.data.dataset,
        "seed": run.config.run.seed,
        "weights": None if result is None or result.weights is None else list(result.weights),
        "weights_rule": None if result is None else result.weights_rule,
        "target_ms": run.target_ms,
        "student": None if result is None else _derived(result.student),
        "teacher": None if result is None else _derived(result.teacher),
        "finished": run.finished,
        "epochs": len(run.epochs),
        "epochs_planned": run.config.schedule.epochs,
        "seconds": run.seconds,
        "not_comparable": list(one.differs),
    }


def _derived(one: Derived) -> dict[str, Any]:
    return {"branches": list(one.branches), "latency_ms": one.latency_ms, "miou": one.miou, "how": one.how}
