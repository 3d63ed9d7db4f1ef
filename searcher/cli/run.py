"""``searcher run``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import IMAGE_SIZE, Command, open_store
from trainer.runs.options import (
    CONFIG_FILE,
    DATASET,
    FOLDER,
    PRECISION,
    SEED,
    SIZE,
    THREADS,
    WORKERS,
    setting,
    settings_as_tables,
    with_options,
)

if TYPE_CHECKING:
    from searcher.result import SearchResult

RULES = ("paper", "balanced", "none")


class WeightsType(click.ParamType[Any]):
    """paper, balanced, none, or three numbers."""

    name = "rule|w1,w2,w3"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if not isinstance(value, str) or value in RULES:
            return value
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 3:
            self.fail(f"{value!r} is neither {', '.join(RULES)} nor three numbers, as in 0.2,0.5,0.3", param, ctx)
        return numbers


_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    setting("--device", to="latency.device", help="Device slug, or eight or more digits of a target's key."),
    DATASET,
    setting("--split", to="data.split", help="Images to search on.  [default: train]"),
    FOLDER,
    click.option("--out", type=click.Path(file_okay=False), help="Folder of the run.  [default: runs/<time>]"),
    CONFIG_FILE,
    click.option("--resume", is_flag=True, help="Go on with the search in --out; begin it, where there is none yet."),
    setting("--backend", to="latency.backend", help="Backend, where the device has several targets."),
    setting(
        "--image-size", to="latency.image_size", type=IMAGE_SIZE, help="What the latency is of.  [default: 1024x2048]"
    ),
    setting("--weights", to="latency.weights", type=WeightsType(), help="w1, w2, w3 of Eq. 3.  [default: balanced]"),
    setting("--target-ms", to="latency.target_ms", type=float, help="Latency that the student is steered to."),
    setting("--latency-factor", to="latency.factor", type=float, help="λ per ms, without a target.  [default: 0.01]"),
    setting(
        "--predict-missing/--no-predict-missing",
        to="latency.predict_missing",
        help="Fill what is not stored by a model fitted to what is.",
    ),
    SIZE,
    setting("--crop", to="data.crop", type=IMAGE_SIZE, help="Of a training sample.  [default: 160x320]"),
    setting("--count", to="data.count", type=int, help="Take only so many images, or draw so many."),
    WORKERS,
    setting("--pretrain-epochs", to="schedule.pretrain_epochs", type=int, help="Of weights alone.  [default: 20]"),
    setting("--search-epochs", to="schedule.search_epochs", type=int, help="Of both in turn.  [default: 30]"),
    setting("--batch-size", to="schedule.batch_size", type=int, help="Images of a step, per process.  [default: 3]"),
    SEED,
    PRECISION,
    THREADS,
    click.option(
        "--space-setting",
        "space_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the space. Repeatable.",
    ),
)


def search_options(command: Command) -> Command:
    """What a search can be told on the command line."""
    return with_options(_OPTIONS, command)


@click.command()
@search_options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    out: str | None,
    config_file: str | None,
    resume: bool,
    space_settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Search a teacher and a student for a device.

    Latencies come from the database, or from the model that is shipped for the device. Everything the search finds is
    in the folder of the run: teacher.json, student.json, result.json, report.html. Stop it at any time, however
    roughly; the same command with --resume goes on where it was. Settings that have no option stand in the file that
    --config names, as config.toml in the folder of a run shows them.

    Several processes: torchrun --nproc-per-node N -m searcher run ... --out RUN
    """
    from latency_db import spaces
    from searcher.config import build_config
    from searcher.predict_command import predict_command
    from searcher.run import run_search
    from searcher.run_folder import RunFolder
    from trainer.runs.launch import Start, launched

    start = Start(out, config_file, resume)
    folder = RunFolder(start.folder())
    given = [settings_as_tables(options)]
    if space_settings:
        given.append({"space": dict(spaces.parse_settings(space_settings))})
    config = build_config(*start.layers(folder.path, given))
    with launched(start, folder.path, "searching") as group:
        result = run_search(config, folder, open_store(ctx), group, resume=resume)
    if result is not None:
        _print(result, folder.path, predict_command(config, len(result.dataset.classes), folder.student))


def _print(result: SearchResult, folder: Path, predict: str) -> None:
    for role, one in (("student", result.student), ("teacher", result.teacher)):
        miou = "" if one.miou is None else f", mIoU as derived {one.miou:.1%}"
        ends = " and ".join(f"1/{s}" for s in one.branches)
        click.echo(f"{role}: {one.latency_ms:.4f} ms at {result.image_size} on {result.device}, ends at {ends}{miou}")
        if one.note:
            click.echo(f"  {one.note}")
    click.echo(f"the student's latency again: {predict}")
    click.echo(f"{folder / 'report.html'}")
