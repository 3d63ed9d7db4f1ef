"""Trainings small enough for a test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainer.architecture import Architecture, Branch, Cell
from trainer.data import Batch
from trainer.runs.checkpoint import load_checkpoint
from trainer.runs.processes import Processes
from trainer.training.config import TrainConfig, build_config
from trainer.training.folder import TrainFolder
from trainer.training.loop import KIND, Training
from trainer.training.run import run_training


def architecture(chi: int = 2) -> Architecture:
    """Two branches, two cells that are not shared."""
    first = Cell(layer=0, s=8, stride=1, op="conv", chi=chi)
    return Architecture(
        branches=(
            Branch(cells=(first, Cell(layer=1, s=8, stride=1, op="conv", chi=None))),
            Branch(
                cells=(
                    first,
                    Cell(layer=1, s=8, stride=2, op="zoomed_conv", chi=chi),
                    Cell(layer=2, s=16, stride=1, op="conv", chi=None),
                )
            ),
        ),
        stem_widths=(8, 8, 16),
        head_chi=2,
        num_classes=10,
    )


def write_architecture(path: Path, chi: int = 2) -> Path:
    """As a search leaves it."""
    path.write_text(json.dumps(architecture(chi).to_json()), encoding="utf-8")
    return path


TINY: dict[str, Any] = {
    "data": {"size": [64, 128], "crop": [64, 64], "count": 8, "validation_count": 2, "workers": 0},
    "schedule": {"epochs": 2, "batch_size": 2, "ema": 0.5},
    # Every step is kept: what a kill leaves is the step before it.
    "run": {"seed": 3, "threads": 1, "checkpoint_minutes": 1e-9},
}


def tiny(named: str, **changes: Any) -> TrainConfig:
    """Settings with others in some tables."""
    return build_config(TINY, {"network": {"name": named}}, changes)


def trained(folder: Path, named: str, *, resume: bool = False, **changes: Any) -> TrainFolder:
    """Train in a folder."""
    run = TrainFolder(folder)
    run_training(tiny(named, **changes), run, Processes(), resume=resume)
    return run


def left(run: TrainFolder) -> dict[str, Any]:
    """Everything that a training leaves, but for how long it took."""

    def digests(weights: dict[str, torch.Tensor]) -> dict[str, str]:
        return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in weights.items()}

    result = json.loads(run.result.read_text())
    epochs = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    for one in (result, *epochs):
        del one["seconds"]
    kept = load_checkpoint(run.checkpoint, KIND)
    return {
        "result": result,
        "epochs": epochs,
        "network": digests(kept["network"]),
        "averaged": digests(kept["averaged"]),
        "model": digests(load_checkpoint(run.model, "network")["weights"]),
    }


class Killed(BaseException):
    """Stands for a kill: nothing in the training may catch it."""


@contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """The training in it does so many steps, and then is killed."""
    original, calls = Training._step, []

    def stops(self: Training, batch: Batch) -> None:
        calls.append(batch)
        if len(calls) > steps:
            raise Killed
        original(self, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Training, "_step", stops)
        yield


class OwnWithHeads(nn.Module):
    """A user's module that is trained with a head of its own."""

    auxiliary_weights = (0.5,)

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 8, stride=8)
        self.auxiliary_heads = nn.ModuleList([nn.Conv2d(num_classes, num_classes, 1)])

    def forward(self, image: Any) -> Any:
        """(N, 3, H, W) → (N, classes, H/8, W/8)."""
        return self.layer(image)

    def with_auxiliary(self, image: Any) -> Any:
        """The same, and what the head says."""
        logits = self.layer(image)
        return logits, (self.auxiliary_heads[0](logits),)


def too_few(num_classes: int) -> nn.Module:
    """Logits for one class less than there are."""
    return Own(num_classes - 1)


class Own(nn.Module):
    """A user's module: one convolution and what drops out."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 8, stride=8)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, image: Any) -> Any:
        """(N, 3, H, W) → (N, classes, H/8, W/8)."""
        return self.layer(self.drop(image))
