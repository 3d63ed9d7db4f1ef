"""Everything that decides what a training does: typed, checked, a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from latency_db.errors import InputError
from trainer.runs.tables import (
    RESUMABLE,
    Count,
    Pixels,
    Positive,
    RunTable,
    Share,
    Table,
    Tables,
    Weight,
    merged,
    validated,
)


class NetworkConfig(Table):
    """What is trained.

    Attributes:
        name: as :func:`trainer.networks.find_network` takes it.
        branches: keep only the branches of the architecture that end at these downsample rates (Table 3, b = 1).
        chi: give every cell this expansion ratio (Table 3, χ = 8; the narrowest of a teacher prunes it).
    """

    name: str
    branches: tuple[Count, ...] | None = None
    chi: Count | None = None


class DataConfig(Table):
    """What it is trained and judged on.

    Attributes:
        dataset: its name.
        folder: where it is; nothing for what is drawn.
        split: of the training images.
        validation_split: of the images that it is judged on.
        size: (height, width) that images are brought to first; their own if None.
        crop: (height, width) of a training sample.
        scale: smallest and largest random factor of a training sample.
        count: take only so many training images, or draw so many.
        validation_count: the same for the images that it is judged on; those are brought to ``size``, too, and their
            labels keep their own resolution.
        workers: processes that make batches ahead.
    """

    dataset: str = "synthetic"
    folder: str | None = None
    split: str = "train"
    validation_split: str = "val"
    size: tuple[Pixels, Pixels] | None = None
    crop: tuple[Pixels, Pixels] = (256, 512)
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    count: Count | None = None
    validation_count: Count | None = None
    workers: Annotated[int, Field(ge=0)] = 2


class ScheduleConfig(Table):
    """How long, and with which steps. The optimizer and its decay are the paper's (Appendix H); it gives no length.

    Attributes:
        epochs: how many.
        batch_size: images of a step, per process.
        learning_rate, momentum, weight_decay: SGD's.
        decay: how the learning rate falls: ``exponential``, by ``decay_factor`` an epoch, or ``polynomial``, as
            (1 − t)^``decay_power``, t the share of all steps that are done.
        decay_factor: of the exponential decay.
        decay_power: of the polynomial decay.
        warmup_steps: steps over which the learning rate rises from nothing.
        clip: largest norm of the gradient; None: none.
        ema: decay of the exponential moving average of the weights, which is then what is judged and kept; 0: none.
        validate_every: epochs between two validations; the last epoch always has one.
    """

    epochs: Count = 300
    batch_size: Count = 8
    learning_rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    decay: Literal["exponential", "polynomial"] = "exponential"
    decay_factor: Share = 0.99
    decay_power: Positive = 0.9
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip: Positive | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    validate_every: Count = 1


class LossConfig(Table):
    """What is made small.

    Attributes:
        hard_threshold, hard_share: of :class:`trainer.losses.OhemCrossEntropy`.
        auxiliary: weight of the auxiliary heads' losses, times the network's own weights for them; 0: no such heads.
        distillation: weight of the distillation from the teacher (Eq. 4); the paper's is 1.
    """

    hard_threshold: Share = 0.7
    hard_share: Share = 1 / 16
    auxiliary: Weight = 0.0
    distillation: Weight = 1.0


class TeacherConfig(Table):
    """Who teaches.

    Attributes:
        network: a network that is trained first, with the same settings, in the folder ``teacher`` of the run; with
            ``model``, what that file must be of (a module of one's own must be named).
        model: a trained network, a file or the folder of its training.
    """

    network: str | None = None
    model: str | None = None


class RunConfig(RunTable):
    """How a training runs.

    Attributes:
        compile: let ``torch.compile`` make the network's kernels.
    """

    compile: bool = False


class TrainConfig(Tables):
    """All of it."""

    network: NetworkConfig
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    teacher: TeacherConfig = TeacherConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _steps_fit(self) -> TrainConfig:
        if self.network.branches is not None and not self.network.branches:
            raise ValueError("network.branches names no branch")
        if self.run.compile and self.loss.auxiliary:
            raise ValueError("run.compile compiles the network without its auxiliary heads: leave loss.auxiliary at 0")
        return self


MAY_DIFFER = RESUMABLE | {("run", "compile")}
"""What a resumed training may set otherwise."""


def build_config(*layers: Mapping[str, Any]) -> TrainConfig:
    """A configuration from tables of tables, of which later ones win, value by value.

    Raises:
        InputError: an unknown name, or a value that makes no sense; the message names it.
    """
    tables = merged(*layers)
    if not tables.get("network", {}).get("name"):
        raise InputError("no network: name one, or the JSON file of an architecture, as in `trainer train FILE`")
    return validated(TrainConfig, tables)
