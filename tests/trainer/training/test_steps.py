"""What the steps of a training do: the loss falls, weights are averaged, the forward pass is as precise as asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.training.trainings import killed_after, left, trained, write_architecture
from trainer.data import Batch
from trainer.runs.checkpoint import load_checkpoint
from trainer.training.loop import KIND, Training
from trainer.training.record import read_epochs


@pytest.fixture
def student(tmp_path: Path) -> str:
    return str(write_architecture(tmp_path / "student.json"))


def test_what_is_kept_is_the_average_of_the_weights_after_each_step(
    student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, after = Training._step, []

    def noting(self: Training, batch: Batch) -> None:
        original(self, batch)
        after.append({name: value.clone() for name, value in self.assembly.network.state_dict().items()})

    monkeypatch.setattr(Training, "_step", noting)
    decay = 0.7
    run = trained(tmp_path / "run", student, data={"count": 6}, schedule={"epochs": 1, "ema": decay})
    kept = load_checkpoint(run.model, "network")["weights"]
    first, second, third = after
    assert kept.keys() == first.keys()
    for name, value in kept.items():
        # How many batches norms have seen is counted in whole numbers.
        if value.is_floating_point():
            expected = decay**2 * first[name] + decay * (1 - decay) * second[name] + (1 - decay) * third[name]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7, msg=name)
    # The average is not what was trained: taking one for the other would show.
    assert any(not torch.allclose(value, third[name], rtol=1e-3) for name, value in kept.items())


def test_a_training_in_bfloat16_goes_on_exactly(student: str, tmp_path: Path) -> None:
    half = {"precision": "bfloat16"}
    whole = trained(tmp_path / "whole", student, run=half)
    with killed_after(5):
        trained(tmp_path / "run", student, run=half)
    assert left(trained(tmp_path / "run", student, run=half, resume=True)) == left(whole)
    # Only the forward pass is in bfloat16: near what float32 gives, and not the same.
    loss = read_epochs(whole.epochs)[0].loss
    exact = read_epochs(trained(tmp_path / "exact", student, schedule={"epochs": 1}).epochs)[0].loss
    assert loss != exact
    assert loss == pytest.approx(exact, rel=0.02)
    weights = load_checkpoint(whole.checkpoint, KIND)["network"].values()
    assert {value.dtype for value in weights if value.is_floating_point()} == {torch.float32}


def test_a_network_learns_a_few_images_by_heart(student: str, tmp_path: Path) -> None:
    run = trained(
        tmp_path / "run",
        student,
        data={"count": 4, "crop": [64, 128], "scale": [1, 1]},
        schedule={"epochs": 12, "ema": 0, "learning_rate": 0.05, "validate_every": 12},
        run={"checkpoint_minutes": 15},
    )
    first, *_, last = (record.loss for record in read_epochs(run.epochs))
    assert last < 0.6 * first
