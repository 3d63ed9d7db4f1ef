"""A training from its first epoch to its last: steps, validation, what is noted, and going on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch
from torch.nn.utils import clip_grad_norm_

from trainer.accuracy import measure_accuracy
from trainer.data import Batch, DataError
from trainer.data.hashing import mix
from trainer.metrics import mean_iou
from trainer.runs.checkpoint import load_checkpoint, save_checkpoint
from trainer.runs.errors import RunError
from trainer.training.assembly import Assembly
from trainer.training.folder import TrainFolder
from trainer.training.record import EpochRecord, append_epoch, keep_until
from trainer.training.schedule import learning_rate

KIND = "training"
"""Of its checkpoints."""
TERMS = ("total", "segmentation", "auxiliary", "distillation")


class Listener(Protocol):
    """Who is told how the training goes."""

    def step(self, state: State, losses: dict[str, float], rate: float) -> None:
        """A step is done; ``losses`` by their names in :class:`trainer.training.objective.Terms`."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done and noted."""


@dataclass
class State:
    """Where the training is.

    Attributes:
        epoch: the present one, from 0.
        step: steps of it that are done.
        steps: steps of a whole epoch.
        seconds: that the training took before this epoch, over all its sittings.
        epoch_seconds: that this epoch took so far, over all its sittings.
        sums: sums over this epoch's steps of the losses.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Steps done over all epochs."""
        return self.epoch * self.steps + self.step


class Training:
    """A training in a folder: a new one, or what the checkpoint there holds.

    Args:
        assembly: what it runs with.
        folder: where it leaves what it learns.
        listeners: who is told.

    Attributes:
        state: where it is.

    Raises:
        RunError: there is a checkpoint, and it cannot be gone on from.
    """

    def __init__(self, assembly: Assembly, folder: TrainFolder, listeners: tuple[Listener, ...] = ()) -> None:
        self.assembly = assembly
        self.folder = folder
        self.listeners = listeners
        self.state = State(steps=len(assembly.training))
        self._iou: list[float | None] | None = None
        self._resumed = self._resume()

    def run(self) -> None:
        """Go on to the end.

        Raises:
            RunError: the loss is no number any more, or the folder cannot be written. The last checkpoint is there.
            DataError: an image or a label is not what it should be.
        """
        if not self._resumed:
            self._save()
        batches = self.assembly.training.forever()
        while self.state.epoch < self.assembly.config.schedule.epochs:
            self._epoch(batches)

    def final_iou(self) -> list[float | None]:
        """IoU of each class at the end: that of the last epoch, whose validation is not done again in its sitting.

        Every process takes part: each judges on its share of the images.
        """
        return judge(self.assembly) if self._iou is None else self._iou

    def _epoch(self, batches: Iterator[Batch]) -> None:
        state = self.state
        self.assembly.network.train()
        kept = begun = time.monotonic()
        for batch in islice(batches, state.steps - state.step):
            self._step(batch)
            now = time.monotonic()
            state.epoch_seconds, begun = state.epoch_seconds + now - begun, now
            if state.step < state.steps and self._late(now - kept):
                self._average_buffers()
                self._save()
                kept = now
        self._average_buffers()
        miou = None
        if self._due():
            self._iou = judge(self.assembly)
            miou = mean_iou(self._iou)
        state.epoch_seconds += time.monotonic() - begun
        self._advance(self._record(miou))

    def _late(self, seconds: float) -> bool:
        """Whether the last checkpoint is too old; of several processes, as soon as one finds so, all do."""
        limit_s = 60 * self.assembly.config.run.checkpoint_minutes
        return self.assembly.processes.mean(float(seconds > limit_s)) > 0

    def _average_buffers(self) -> None:
        """Each process has seen other images; what norms remember of them becomes the mean."""
        self.assembly.processes.average_buffers(self.assembly.network)
        if self.assembly.averaged is not None:
            self.assembly.processes.average_buffers(self.assembly.averaged)

    def _step(self, batch: Batch) -> None:
        assembly, state = self.assembly, self.state
        config, processes = assembly.config, assembly.processes
        # What drops out depends on the step alone, so that a resumed training draws the same.
        torch.manual_seed(mix(config.run.seed, state.number, processes.rank) >> 1)
        rate = learning_rate(config.schedule, state.number, state.steps)
        for group in assembly.optimizer.param_groups:
            group["lr"] = rate
        device = assembly.device
        batch = Batch(batch.image.to(device, non_blocking=True), batch.label.to(device, non_blocking=True))
        if config.run.channels_last:
            batch = batch._replace(image=batch.image.contiguous(memory_format=torch.channels_last))
        assembly.optimizer.zero_grad(set_to_none=True)
        terms = assembly.objective(batch)
        terms.total.backward()
        processes.average_gradients(assembly.network.parameters())
        clip = config.schedule.clip
        norm = clip_grad_norm_(assembly.network.parameters(), math.inf if clip is None else clip)
        losses = {name: processes.mean(value.item()) for name in TERMS if (value := getattr(terms, name)) is not None}
        self._must_be_finite(losses["total"] + 0.0 * norm.item())
        assembly.optimizer.step()
        if assembly.averaged is not None:
            assembly.averaged.update_parameters(assembly.network)
        for name, loss in losses.items():
            state.sums[name] = state.sums.get(name, 0.0) + loss
        state.step += 1
        for listener in self.listeners:
            listener.step(state, losses, rate)

    def _must_be_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            state = self.state
            raise RunError(
                f"the loss or its gradient is no number in step {state.step} of epoch {state.epoch}: "
                "the training diverged",
                hint=f"{self.folder.checkpoint} is from before it; start anew with a lower schedule.learning_rate",
            )

    def _due(self) -> bool:
        schedule, done = self.assembly.config.schedule, self.state.epoch + 1
        return done % schedule.validate_every == 0 or done == schedule.epochs

    def _record(self, miou: float | None) -> EpochRecord:
        state = self.state
        means = {name: total / state.steps for name, total in state.sums.items()}
        return EpochRecord(
            epoch=state.epoch,
            seconds=state.epoch_seconds,
            learning_rate=self.assembly.optimizer.param_groups[0]["lr"],
            loss=means["total"],
            segmentation=means["segmentation"],
            auxiliary=means.get("auxiliary"),
            distillation=means.get("distillation"),
            miou=miou,
        )

    def _advance(self, record: EpochRecord) -> None:
        """Note the epoch, then keep the state in which the next one begins: killed between, it is done again."""
        state = self.state
        if self.assembly.processes.first:
            append_epoch(self.folder.epochs, record)
        state.seconds += state.epoch_seconds
        state.epoch, state.step, state.epoch_seconds, state.sums = state.epoch + 1, 0, 0.0, {}
        self._save()
        for listener in self.listeners:
            listener.epoch(record)

    def _save(self) -> None:
        assembly = self.assembly
        if not assembly.processes.first:
            return
        save_checkpoint(
            self.folder.checkpoint,
            KIND,
            {
                "network": assembly.network.state_dict(),
                "averaged": None if assembly.averaged is None else assembly.averaged.state_dict(),
                "optimizer": assembly.optimizer.state_dict(),
                "data": assembly.training.state_dict(),
                "state": {**vars(self.state), "sums": dict(self.state.sums)},
                "processes": assembly.processes.count,
            },
        )

    def _resume(self) -> bool:
        """Go on where the last checkpoint was made; whether there is one."""
        if not self.folder.checkpoint.exists():
            return False
        assembly = self.assembly
        kept = load_checkpoint(self.folder.checkpoint, KIND, assembly.device)
        if kept.get("processes") != assembly.processes.count:
            raise RunError(
                f"the training in {self.folder.path} is one by {kept.get('processes')} processes, not by "
                f"{assembly.processes.count}: its batches would be others",
                hint="resume it by as many",
            )
        try:
            assembly.network.load_state_dict(kept["network"])
            if assembly.averaged is not None:
                assembly.averaged.load_state_dict(kept["averaged"])
            assembly.optimizer.load_state_dict(kept["optimizer"])
            assembly.training.load_state_dict(kept["data"])
            self.state = State(**kept["state"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(f"{self.folder.checkpoint} is not of this training: {reason}") from None
        if assembly.processes.first:
            keep_until(self.folder.epochs, self.state.epoch)
        return True


def judge(assembly: Assembly) -> list[float | None]:
    """IoU of each class on the validation images; every process takes part, each with its share of them.

    Raises:
        DataError: no pixel of them has a class.
    """
    metric = measure_accuracy(assembly.judged, assembly.validation, len(assembly.classes), assembly.device)
    iou = metric.per_class()
    if all(value is None for value in iou):
        data = assembly.config.data
        raise DataError(f"{data.dataset}: no pixel of the split {data.validation_split} has a class")
    return iou
