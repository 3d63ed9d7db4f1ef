"""The multiplier that is steered to a latency, on a made-up search that reacts to it."""

from __future__ import annotations

import math

import pytest
import torch

from searcher.constraint import FixedFactor, SteeredMultiplier


def test_a_fixed_factor_is_lambda() -> None:
    term = FixedFactor(0.25)
    assert term(torch.tensor(4.0)).item() == 1.0
    term.observe([100.0])
    assert term.per_ms == 0.25
    assert term.state_dict() == {}


def test_it_rises_while_the_student_is_too_slow_and_falls_below_zero_while_it_is_too_fast() -> None:
    term = SteeredMultiplier(5.0)
    assert term.per_ms == 0
    before = 0.0
    for _ in range(3):
        term.observe([8.0, 7.0, 9.0])
        assert term.per_ms > before
        before = term.per_ms
    for _ in range(10):
        term.observe([3.0, 3.5, 2.5])
    assert term.per_ms < 0


@pytest.mark.parametrize("start_ms", [2.0, 12.0])
@pytest.mark.parametrize("target_ms", [4.0, 8.0])
def test_a_search_that_gives_way_to_it_ends_at_the_target(start_ms: float, target_ms: float) -> None:
    """log(latency) follows an accuracy that wants the start and a pull of the multiplier, one small step at a time."""
    term, level = SteeredMultiplier(target_ms), math.log(start_ms)
    for _ in range(600):
        pull = term.per_ms * math.exp(level)
        level -= 0.02 * (20 * (level - math.log(start_ms)) + pull)
        term.observe([math.exp(level)])
    assert math.exp(level) == pytest.approx(target_ms, rel=0.05)


def test_its_state_goes_on() -> None:
    one, other = SteeredMultiplier(5.0), SteeredMultiplier(5.0)
    for latency in (8.0, 6.0, 4.0):
        one.observe([latency])
    other.load_state_dict(one.state_dict())
    assert other.per_ms == one.per_ms
    one.observe([7.0])
    other.observe([7.0])
    assert other.per_ms == one.per_ms


def test_it_is_bounded() -> None:
    term = SteeredMultiplier(1.0)
    for _ in range(1000):
        term.observe([1e9])
    assert term.multiplier == 200
    # And it comes back at once: what it could not use is not kept.
    for _ in range(150):
        term.observe([0.1])
    assert term.multiplier < 0
