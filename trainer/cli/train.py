"""``trainer train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import IMAGE_SIZE, Command
from trainer.networks import is_trained
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
    from trainer.training.result import TrainingResult


class RatesType(click.ParamType[Any]):
    """Downsample rates, as in 16,32."""

    name = "s,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if not isinstance(value, str):
            return value
        try:
            return [int(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of downsample rates, as in 16,32", param, ctx)


_OPTIONS = (
    DATASET,
    FOLDER,
    click.option("--out", type=click.Path(file_okay=False), help="Folder of the training.  [default: runs/<time>]"),
    CONFIG_FILE,
    click.option("--resume", is_flag=True, help="Go on with the training in --out; begin it, where there is none yet."),
    click.option(
        "--teacher",
        help="Who teaches: a trained network (file or folder), or a network as NETWORK, which is trained first.",
    ),
    click.option("--teacher-network", metavar="PKG.MOD:FACTORY", help="What makes a trained --teacher of your own."),
    setting("--distillation", to="loss.distillation", type=float, help="Weight of Eq. 4.  [default: 1]"),
    setting("--branches", to="network.branches", type=RatesType(), help="Keep only branches that end at these rates."),
    setting("--chi", to="network.chi", type=int, help="Give every cell this expansion ratio."),
    SIZE,
    setting("--crop", to="data.crop", type=IMAGE_SIZE, help="Of a training sample.  [default: 256x512]"),
    setting("--split", to="data.split", help="Images to train on.  [default: train]"),
    setting("--validation-split", to="data.validation_split", help="Images to judge on.  [default: val]"),
    setting("--count", to="data.count", type=int, help="Take only so many training images, or draw so many."),
    setting("--validation-count", to="data.validation_count", type=int, help="The same for the images to judge on."),
    WORKERS,
    setting("--epochs", to="schedule.epochs", type=int, help="How many.  [default: 300]"),
    setting("--batch-size", to="schedule.batch_size", type=int, help="Images of a step, per process.  [default: 8]"),
    setting("--learning-rate", to="schedule.learning_rate", type=float, help="Of SGD.  [default: 0.01]"),
    setting(
        "--decay",
        to="schedule.decay",
        type=click.Choice(["exponential", "polynomial"]),
        help="How the learning rate falls.  [default: exponential]",
    ),
    setting(
        "--ema", to="schedule.ema", type=float, help="Decay of the moving average of the weights.  [default: 0: none]"
    ),
    setting("--auxiliary", to="loss.auxiliary", type=float, help="Factor of the auxiliary losses.  [default: 0]"),
    SEED,
    PRECISION,
    THREADS,
    setting("--compile/--no-compile", to="run.compile", help="Let torch.compile make the network's kernels."),
)


def train_options(command: Command) -> Command:
    """What a training can be told on the command line."""
    return with_options(_OPTIONS, command)


@click.command()
@click.argument("network", required=False)
@train_options
def train(
    network: str | None,
    out: str | None,
    config_file: str | None,
    resume: bool,
    teacher: str | None,
    teacher_network: str | None,
    **options: Any,
) -> None:
    """Train NETWORK from scratch.

    NETWORK is the JSON file of an architecture, as a search leaves them, a built-in architecture, a network of the zoo,
    or package.module:factory, a callable that takes the number of classes and returns a torch module.

    With --teacher it learns from that network, too. A teacher that is not trained yet is trained first, by the same
    settings, in the folder teacher of the run.

    What is learned is in the folder: model.pt, result.json, curves.png. Stop it at any time, however roughly; the same
    command with --resume goes on where it was. Settings that have no option stand in the file that --config names, as
    config.toml in the folder of a training shows them.

    Several processes: torchrun --nproc-per-node N -m trainer train NETWORK ... --out RUN
    """
    from trainer.runs.launch import Start, launched
    from trainer.training.config import build_config
    from trainer.training.folder import TrainFolder
    from trainer.training.run import run_training

    start = Start(out, config_file, resume)
    folder = TrainFolder(start.folder("train-"))
    given: list[dict[str, Any]] = [settings_as_tables(options)]
    if network is not None:
        given.append({"network": {"name": network}})
    if teacher is not None:
        given.append({"teacher": {"model" if is_trained(teacher) else "network": teacher}})
    if teacher_network is not None:
        given.append({"teacher": {"network": teacher_network}})
    config = build_config(*start.layers(folder.path, given))
    with launched(start, folder.path, "training") as group:
        result = run_training(config, folder, group, resume=resume)
    if result is not None:
        _print(result, folder.model)


def _print(result: TrainingResult, model: Path) -> None:
    by = "" if result.teacher is None else f" taught by {result.teacher}"
    click.echo(f"{result.network}{by}: mIoU {result.miou:.2%} on {result.validation_images} images of {result.dataset}")
    click.echo(str(model))
