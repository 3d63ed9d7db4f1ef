"""The learning rate of each step."""

from __future__ import annotations

from trainer.training.config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, step: int, steps_per_epoch: int) -> float:
    """Of the step with this number, from 0 over all epochs.

    Exponential: η · d^e in epoch e. Polynomial: η · (1 − step / steps)^p. Both times (step + 1) / w in the first w
    steps of warming up.
    """
    if schedule.decay == "exponential":
        factor = schedule.decay_factor ** (step // steps_per_epoch)
    else:
        factor = (1 - step / (schedule.epochs * steps_per_epoch)) ** schedule.decay_power
    warm = min((step + 1) / schedule.warmup_steps, 1.0) if schedule.warmup_steps else 1.0
    return schedule.learning_rate * factor * warm
