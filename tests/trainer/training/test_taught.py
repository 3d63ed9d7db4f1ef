"""A student whose teacher is trained first: what both learn, and that a stop in either's training is gone on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from latency_db.errors import InputError
from tests.trainer.training.trainings import killed_after, left, tiny, trained, write_architecture
from trainer.cli import main
from trainer.training.folder import TrainFolder
from trainer.training.result import read_result


@dataclass(frozen=True)
class Both:
    """A student and its teacher, and what a training of them that nobody stopped leaves."""

    student: Path
    teacher: Path
    unbroken: TrainFolder

    def train(self, folder: Path, **changes: Any) -> TrainFolder:
        return trained(folder, str(self.student), teacher={"network": str(self.teacher)}, **changes)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("both")
    student, teacher = write_architecture(folder / "student.json"), write_architecture(folder / "big.json", chi=3)
    unbroken = trained(folder / "run", str(student), teacher={"network": str(teacher)})
    return Both(student, teacher, unbroken)


def left_of_both(run: TrainFolder) -> list[dict[str, Any]]:
    return [left(run), left(TrainFolder(run.teacher))]


def resumed(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["train", "--out", str(folder), "--resume", *more])


def test_a_teacher_that_is_no_file_of_weights_is_trained_first(both: Both, tmp_path: Path) -> None:
    own, student, run = both.teacher, both.student, both.unbroken
    result = read_result(run.result)
    assert result.teacher == str(own)
    theirs = TrainFolder(run.teacher)
    assert read_result(theirs.result).network == "big"
    # As if it had been trained by itself.
    alone = trained(tmp_path / "alone", str(own))
    assert left(theirs)["model"] == left(alone)["model"]
    by_hand = trained(tmp_path / "by_hand", str(student), teacher={"model": str(alone.path)})
    assert left(by_hand)["model"] == left(run)["model"]


@pytest.mark.parametrize("steps", [0, 3, 10])
def test_a_stop_in_either_s_training_is_gone_on_from_by_the_folder_alone(
    both: Both, tmp_path: Path, steps: int
) -> None:
    """Before the teacher's first step, in its training, in the student's: the teacher's are the first eight steps."""
    with killed_after(steps):
        both.train(tmp_path / "run")
    done = resumed(tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert left_of_both(TrainFolder(tmp_path / "run")) == left_of_both(both.unbroken)


def test_the_student_stays_the_same_while_its_teacher_is_trained(both: Both, tmp_path: Path) -> None:
    with killed_after(3):
        both.train(tmp_path / "run")
    done = resumed(tmp_path / "run", "--chi", "4")
    assert done.exit_code == 1
    assert "was started with another network.chi" in done.stderr


def test_a_teacher_that_cannot_be_trained_leaves_nothing_in_the_way(both: Both, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nosuch"):
        trained(tmp_path / "run", str(both.student), teacher={"network": "nosuch"})
    run = both.train(tmp_path / "run", schedule={"epochs": 1}, data={"count": 2})
    assert read_result(run.result).teacher == str(both.teacher)


@pytest.mark.alone
def test_a_kill_in_the_teacher_s_training_is_gone_on_from_by_the_folder_alone(both: Both, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(tiny(str(both.student), teacher={"network": str(both.teacher)}).to_toml())
    run = TrainFolder(tmp_path / "run")
    start = [sys.executable, "-m", "trainer", "train", "--config", str(settings), "--out", str(run.path)]
    process = subprocess.Popen(start, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    theirs, deadline = TrainFolder(run.teacher), time.monotonic() + 120
    while not theirs.checkpoint.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not theirs.result.exists() and not run.checkpoint.exists()
    done = resumed(run.path)
    assert done.exit_code == 0, done.output
    assert left_of_both(run) == left_of_both(both.unbroken)
