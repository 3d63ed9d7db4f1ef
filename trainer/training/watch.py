"""Who watches a training: a line on the terminal, and TensorBoard."""

from __future__ import annotations

import time

from trainer.runs.board import ScalarBoard
from trainer.runs.progress import StatusLine, duration
from trainer.training.config import ScheduleConfig
from trainer.training.loop import State
from trainer.training.record import EpochRecord


class ProgressLine(StatusLine):
    """Where the training is and how long it takes yet, on standard error; and a line per epoch.

    Args:
        schedule: how many epochs there are.
        what: what is trained, where the line should say it.
        interval_s: between two lines.
    """

    def __init__(self, schedule: ScheduleConfig, what: str = "", interval_s: float | None = None) -> None:
        super().__init__(interval_s)
        self.schedule = schedule
        self.what = f"{what}: " if what else ""
        self._before = time.monotonic()
        self._per_step = 0.0
        self._per_validation = 0.0

    def step(self, state: State, losses: dict[str, float], rate: float) -> None:
        """Print where the training is."""
        now = time.monotonic()
        took, self._before = now - self._before, now
        # A mean that forgets: steps grow faster or slower with the machine's other work.
        self._per_step = 0.9 * (self._per_step or took) + 0.1 * took
        if not self.due:
            return
        left = self.schedule.epochs * state.steps - state.number
        validations = (self.schedule.epochs - state.epoch) / self.schedule.validate_every
        seconds = left * self._per_step + validations * self._per_validation
        parts = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "total")
        self.status(
            f"{self.what}epoch {state.epoch + 1}/{self.schedule.epochs}, step {state.step}/{state.steps}: {parts}, "
            f"{duration(seconds)} left"
        )

    def epoch(self, record: EpochRecord) -> None:
        """Print what an epoch came to."""
        miou = "" if record.miou is None else f", mIoU {record.miou:.1%}"
        taught = "" if record.distillation is None else f", distillation {record.distillation:.3f}"
        self.note(
            f"{self.what}epoch {record.epoch + 1}/{self.schedule.epochs}: segmentation {record.segmentation:.3f}"
            f"{taught}{miou}, {duration(record.seconds)}"
        )
        now = time.monotonic()
        if record.miou is not None:
            self._per_validation = now - self._before
        self._before = now


class Board(ScalarBoard):
    """The figures of steps and epochs for TensorBoard."""

    def step(self, state: State, losses: dict[str, float], rate: float) -> None:
        """Losses and learning rate."""
        for name, value in losses.items():
            self.add(f"loss/{name}", value, state.number)
        self.add("learning_rate", rate, state.number)

    def epoch(self, record: EpochRecord) -> None:
        """Accuracy."""
        if record.miou is not None:
            self.add("miou", record.miou, record.epoch)
        self.flush()
