"""What a search says while it runs: the line with the time left, and figures for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import pytest

from searcher import watch
from searcher.config import ScheduleConfig
from searcher.cosearch import Losses
from searcher.loop import State
from searcher.watch import Board, ProgressLine
from tests.searcher.search_runs import epoch_record

SCHEDULE = ScheduleConfig(pretrain_epochs=1, search_epochs=2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes when it is told to."""
    now = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_that_of_all_steps_to_come(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(SCHEDULE, interval_s=0)
    weights, both = Losses(total=2.0, segmentation=2.0), Losses(total=3.0, segmentation=2.5, latency_ms=4.25)
    clock[0] += 10
    line.step(State(epoch=0, step=1, steps=10), weights, None)
    # 9 steps of 10 s are left of pretraining; until one is seen, a step of searching counts two and a half: 20 x 25 s.
    assert "epoch 1/3 (pretrain), step 1/10: loss 2.000, 9:50 left" in capsys.readouterr().err
    clock[0] += 30
    line.step(State(epoch=1, step=1, steps=10), weights, both)
    said = capsys.readouterr().err
    assert "epoch 2/3 (search), step 1/10: loss 2.000, expected latency 4.250 ms, 9:30 left" in said


def test_a_line_is_not_repeated_at_once(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(SCHEDULE, interval_s=30)
    for step in range(1, 5):
        clock[0] += 10
        line.step(State(step=step, steps=10), Losses(total=2.0, segmentation=2.0), None)
    assert capsys.readouterr().err.count("left") == 2


def test_an_epoch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    record = epoch_record(3)
    ProgressLine(ScheduleConfig(pretrain_epochs=2, search_epochs=8)).epoch(record)
    said = capsys.readouterr().err
    assert said.startswith("epoch 4/10 (search): loss ")
    assert f"student mIoU {record.mean_miou('student'):.1%}" in said
    assert said.endswith("1:02\n")


def test_tensorboard_has_the_figures_and_a_new_sitting_withdraws_what_it_does_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = Losses(total=2.0, segmentation=2.0)
    with Board(tmp_path, 0) as board:
        for number in range(1, 4):
            board.step(State(steps=10, step=number, number=number), losses, None)
        board.epoch(epoch_record(2))
    with Board(tmp_path, 3) as board:
        board.step(State(steps=10, step=3, number=3), Losses(total=9.0, segmentation=9.0), None)
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert {one.step: one.value for one in found.Scalars("loss/weights")} == {1: 2.0, 2: 2.0, 3: 9.0}
    assert found.Scalars("latency_ms/student")[0].value == pytest.approx(epoch_record(2).latency_ms["student"])
