"""The learning rate of each step."""

from __future__ import annotations

import pytest

from trainer.training.config import ScheduleConfig
from trainer.training.schedule import learning_rate


def test_exponential_falls_by_the_epoch() -> None:
    schedule = ScheduleConfig(learning_rate=0.1)
    assert learning_rate(schedule, 0, 10) == learning_rate(schedule, 9, 10) == 0.1
    assert learning_rate(schedule, 10, 10) == pytest.approx(0.1 * 0.99)
    assert learning_rate(schedule, 1000, 10) == pytest.approx(0.1 * 0.99**100)


def test_polynomial_ends_just_above_nothing() -> None:
    schedule = ScheduleConfig(learning_rate=0.1, epochs=4, decay="polynomial")
    assert learning_rate(schedule, 0, 5) == 0.1
    assert learning_rate(schedule, 10, 5) == pytest.approx(0.1 * 0.5**0.9)
    assert 0 < learning_rate(schedule, 19, 5) < 0.01


def test_warming_up_rises_evenly_to_the_full_rate() -> None:
    schedule = ScheduleConfig(learning_rate=0.1, warmup_steps=4)
    assert [learning_rate(schedule, step, 100) for step in range(5)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
