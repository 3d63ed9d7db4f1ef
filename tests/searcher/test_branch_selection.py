"""Branches are chosen by Eq. 5."""

from __future__ import annotations

import pytest

from searcher.branch_selection import choose, objective
from searcher.result import Candidate


def candidate(branches: tuple[int, ...], latency_ms: float, score: float | None) -> Candidate:
    return Candidate(role="student", branches=branches, miou=0.5, latency_ms=latency_ms, score=score, chosen=False)


def chosen(*candidates: Candidate, eligible: list[bool] | None = None) -> tuple[int, ...]:
    (best,) = [one.branches for one in choose(candidates, eligible) if one.chosen]
    return best


def test_the_objective_is_equation_5() -> None:
    # 0.6 · (10 / 8)^−0.07, worked out by hand: exp(−0.07 · ln 1.25) = 0.984502.
    assert objective(0.6, 10.0, 8.0, -0.07) == pytest.approx(0.6 * 0.984502, rel=1e-6)
    assert objective(0.6, 8.0, 8.0, -0.07) == 0.6
    assert objective(0.6, 123.0, 8.0, 0.0) == 0.6


def test_a_slower_network_must_be_more_accurate() -> None:
    fast, slow = objective(0.600, 5.0, 8.0, -0.07), objective(0.602, 10.0, 8.0, -0.07)
    assert fast > slow
    assert objective(0.64, 10.0, 8.0, -0.07) > fast


def test_the_target_does_not_change_the_order() -> None:
    def order(target_ms: float) -> bool:
        return objective(0.60, 5.0, target_ms, -0.07) > objective(0.62, 9.0, target_ms, -0.07)

    assert order(1.0) == order(8.3) == order(100.0)


def test_the_best_score_is_chosen_and_among_equals_the_fastest() -> None:
    assert chosen(candidate((8, 16), 5.0, 0.4), candidate((8, 32), 6.0, 0.5)) == (8, 32)
    assert chosen(candidate((8, 16), 6.0, 0.5), candidate((8, 32), 5.0, 0.5)) == (8, 32)
    assert chosen(candidate((8, 16), 6.0, None), candidate((8, 32), 5.0, None)) == (8, 32)


def test_what_is_not_eligible_is_not_chosen_however_good() -> None:
    candidates = candidate((8, 16), 5.0, 0.9), candidate((8, 32), 6.0, 0.5), candidate((16, 32), 4.0, 0.1)
    assert chosen(*candidates, eligible=[False, True, True]) == (8, 32)
