"""Who watches a search: a line on the terminal, and TensorBoard."""

from __future__ import annotations

import time

from searcher.config import ScheduleConfig
from searcher.cosearch import Losses
from searcher.history import EpochRecord, branches_name
from searcher.loop import State
from trainer.runs.board import ScalarBoard
from trainer.runs.progress import StatusLine, duration


class ProgressLine(StatusLine):
    """Where the search is and how long it takes yet, on standard error.

    One line that rewrites itself on a terminal, a line every so often elsewhere; and a line per epoch.

    Args:
        schedule: how many epochs there are of each phase.
        interval_s: between two lines.
    """

    def __init__(self, schedule: ScheduleConfig, interval_s: float | None = None) -> None:
        super().__init__(interval_s)
        self.schedule = schedule
        self._before = time.monotonic()
        self._per_step: dict[bool, float] = {}
        self._per_validation = 0.0

    def step(self, state: State, losses: Losses, architecture: Losses | None) -> None:
        """Print where the search is."""
        now = time.monotonic()
        searching, took = architecture is not None, now - self._before
        self._before = now
        # A mean that forgets: steps grow faster or slower with the machine's other work.
        self._per_step[searching] = 0.9 * self._per_step.get(searching, took) + 0.1 * took
        if not self.due:
            return
        latency = "" if architecture is None else f", expected latency {architecture.latency_ms:.3f} ms"
        self.status(
            f"epoch {state.epoch + 1}/{self.schedule.epochs} ({'search' if searching else 'pretrain'}), "
            f"step {state.step}/{state.steps}: loss {losses.segmentation:.3f}{latency}, {self._left(state)} left"
        )

    def _left(self, state: State) -> str:
        # Until the first step of the search, two and a half of pretraining stand for it.
        pretraining = self._per_step.get(False, 0.0)
        searching = self._per_step.get(True, 2.5 * pretraining)
        done = state.epoch * state.steps + state.step
        before = self.schedule.pretrain_epochs * state.steps
        seconds = max(before - done, 0) * pretraining
        seconds += (self.schedule.epochs * state.steps - max(done, before)) * searching
        searched = max(state.epoch - self.schedule.pretrain_epochs, 0)
        seconds += (self.schedule.search_epochs - searched) / self.schedule.validate_every * self._per_validation
        return duration(seconds)

    def epoch(self, record: EpochRecord) -> None:
        """Print what an epoch came to."""
        parts = [f"epoch {record.epoch + 1}/{self.schedule.epochs} ({record.phase}): loss {record.weight_loss:.3f}"]
        if record.architecture_loss is not None:
            parts.append(f"architecture {record.architecture_loss:.3f}")
            parts.append(f"expected latency {record.latency_ms['student']:.3f} ms")
        miou = record.mean_miou("student")
        if miou is not None:
            parts.append(f"student mIoU {miou:.1%}, teacher {record.mean_miou('teacher') or 0:.1%}")
        parts.append(duration(record.seconds))
        self.note(", ".join(parts))
        now = time.monotonic()
        if miou is not None:
            self._per_validation = now - self._before
        self._before = now


class Board(ScalarBoard):
    """The figures of steps and epochs for TensorBoard."""

    def step(self, state: State, losses: Losses, architecture: Losses | None) -> None:
        """Losses and latency."""
        self.add("loss/weights", losses.segmentation, state.number)
        if architecture is not None:
            self.add("loss/architecture", architecture.segmentation, state.number)
            if architecture.latency_ms is not None:
                self.add("latency_ms/student_draw", architecture.latency_ms, state.number)

    def epoch(self, record: EpochRecord) -> None:
        """Accuracy, latency, and the share of every choice."""
        epoch = record.epoch
        self.add("learning_rate", record.learning_rate, epoch)
        for role, latency_ms in record.latency_ms.items():
            self.add(f"latency_ms/{role}", latency_ms, epoch)
            self.add(f"downsample/{role}", record.downsample[role], epoch)
            for op, share in record.operators[role].items():
                self.add(f"operators_{role}/{op}", share, epoch)
        for chi, share in record.widths.items():
            self.add(f"widths/{chi}", share, epoch)
        if record.lambda_ is not None:
            self.add("lambda", record.lambda_, epoch)
        for role, by_branches in (record.miou or {}).items():
            for branches, miou in by_branches.items():
                self.add(f"miou_{role}/{branches_name(branches)}", miou, epoch)
        self.flush()
