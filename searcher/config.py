"""Everything that decides what a search does: typed, checked, a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from latency_db.errors import InputError
from latency_db.keys import ImageSize
from trainer.runs.tables import Count, Pixels, Positive, RunTable, Share, Table, Tables, Weight, merged, validated

PAPER_WEIGHTS = (0.001, 0.997, 0.002)
"""(w1, w2, w3), the defaults below Eq. 3."""
WeightRule = Literal["paper", "balanced", "none"]


class DataConfig(Table):
    """What is searched on.

    Attributes:
        dataset: its name.
        folder: where it is; nothing for what is drawn.
        split: images of this split are searched on; those that judge a finished network stay out of it.
        size: (height, width) that images are brought to first; their own if None.
        crop: (height, width) of a training sample.
        scale: smallest and largest random factor of a training sample.
        count: take only so many images, or draw so many.
        holdout: share of the images that neither step sees: validation picks the branches on them.
        workers: processes that make batches ahead.
    """

    dataset: str = "synthetic"
    folder: str | None = None
    split: str = "train"
    size: tuple[Pixels, Pixels] | None = None
    crop: tuple[Pixels, Pixels] = (160, 320)
    scale: tuple[Positive, Positive] = (0.5, 2.0)
    count: Count | None = None
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    workers: Annotated[int, Field(ge=0)] = 2


class LatencyConfig(Table):
    """What latency, and how it counts.

    Attributes:
        device, backend, image_size, batch: as ``latency-db predict`` takes them; the image size is the one that the
            network will run at, not the crop.
        predict_missing: as there.
        extrapolate: as there; a model then answers for numbers of classes and widths that it was not fitted to, and a
            warning says for how many operators.
        weights: (w1, w2, w3) of Eq. 3, or a rule: the paper's, those that balance this device's table, or none: the
            plain latency, undecoupled.
        factor: λ of Eq. 8, per ms. Not used with a target.
        target_ms: what the student's predicted latency is to be.
        tolerance: relative; within it the target is hit.
        objective_target_ms: T of Eq. 5, where no target is given.
        exponent: w of Eq. 5.
    """

    device: str
    backend: str | None = None
    image_size: str = "1024x2048"
    batch: Count = 1
    predict_missing: bool = False
    extrapolate: bool = True
    weights: WeightRule | tuple[Weight, Weight, Weight] = "balanced"
    factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    target_ms: Positive | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    objective_target_ms: Positive = 8.3
    exponent: Annotated[float, Field(le=0, allow_inf_nan=False)] = -0.07

    @field_validator("image_size")
    @classmethod
    def _size(cls, value: str) -> str:
        return str(ImageSize.parse(value))

    @property
    def image(self) -> ImageSize:
        """The image size."""
        return ImageSize.parse(self.image_size)


class ScheduleConfig(Table):
    """How long, and with which steps. The defaults are the paper's (Appendix F, H), where it says.

    Attributes:
        pretrain_epochs: epochs of weights alone.
        search_epochs: epochs of weights and architecture in turn.
        batch_size: images of a step, per process.
        learning_rate, momentum, weight_decay: SGD's, for the weights.
        decay: the learning rate's factor per epoch.
        clip: largest norm of the weights' gradient.
        architecture_learning_rate: Adam's, for α, β, γ.
        temperature: τ of the Gumbel-Softmax (Appendix C).
        hard_threshold, hard_share: of :class:`trainer.losses.OhemCrossEntropy`.
        validate_every: epochs of searching between two validations.
        calibration_batches: batches that norms see before a validation.
    """

    pretrain_epochs: Annotated[int, Field(ge=0)] = 20
    search_epochs: Count = 30
    batch_size: Count = 3
    learning_rate: Positive = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    decay: Share = 0.99
    clip: Positive = 5.0
    architecture_learning_rate: Positive = 3e-4
    temperature: Positive = 1.0
    hard_threshold: Share = 0.7
    hard_share: Share = 1 / 16
    validate_every: Count = 1
    calibration_batches: Count = 8

    @property
    def epochs(self) -> int:
        """Of both phases."""
        return self.pretrain_epochs + self.search_epochs


class RunConfig(RunTable):
    """How a search runs.

    Attributes:
        checkpointing: keep only what is between layers and run each again in the backward pass.
    """

    checkpointing: bool = False


class SearchConfig(Tables):
    """All of it.

    Attributes:
        space: settings of the space; the number of classes is the data set's.
    """

    latency: LatencyConfig
    space: Mapping[str, Any] = {}
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _classes_are_the_datas(self) -> SearchConfig:
        if "num_classes" in self.space:
            raise ValueError("space.num_classes is not to be set: it is the data set's number of classes")
        return self


def build_config(*layers: Mapping[str, Any]) -> SearchConfig:
    """A configuration from tables of tables, of which later ones win, value by value.

    Raises:
        InputError: an unknown name, or a value that makes no sense; the message names it.
    """
    tables = merged(*layers)
    tables.setdefault("latency", {})
    if not tables["latency"].get("device"):
        raise InputError("no device: --device SLUG says whose latency counts (`latency-db devices` lists them)")
    return validated(SearchConfig, tables)
