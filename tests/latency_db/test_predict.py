"""A prediction is a sum over operators plus a term per adjacent pair."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from backends.samples import Estimate
from latency_db.calibration import Calibration, Term, boundary_millions
from latency_db.errors import PredictionError
from latency_db.keys import ImageSize, OpSpec
from latency_db.predict import missing, predict
from latency_db.space import Decomposition

IMAGE = ImageSize(64, 64)
A = OpSpec("conv", 8, 8, 8, 1, IMAGE)
B = OpSpec("conv_x2", 8, 8, 8, 1, IMAGE)
NETWORK = Decomposition(specs=(A, B, A), edges=((0, 1), (1, 2)))
RATIOS: Mapping[OpSpec, Estimate] = {
    A: Estimate(value=2.0, rel_ci=0.01, visits=5),
    B: Estimate(value=3.0, rel_ci=0.02, visits=5),
}


def test_without_a_calibration_it_is_the_plain_sum_in_ms() -> None:
    found = predict(NETWORK, RATIOS, Calibration.identity(), reference_ms=0.5)
    assert found.latency_ms == pytest.approx((2 + 3 + 2) * 0.5)
    assert [part.spec for part in found.parts] == [A, B, A]
    assert sum(part.latency_ms for part in found.parts) == pytest.approx(found.latency_ms)


def test_an_operator_used_twice_is_uncertain_twice_over() -> None:
    found = predict(NETWORK, RATIOS, Calibration.identity(), reference_ms=0.5)
    assert found.rel_ci == pytest.approx(math.hypot(2 * 2 * 0.01, 3 * 0.02) / 7)


def test_scales_and_pairs_are_applied() -> None:
    terms = [
        Term(term="op", value=0.9, op="conv"),
        Term(term="op", value=1.1, op="conv_x2"),
        Term(term="pair", value=0.25, op="conv", next_op="conv_x2", stride=1, next_stride=1, s=8),
    ]
    calibration = Calibration.from_terms(terms, method="pair", cv_error=0.0, networks=9)
    found = predict(NETWORK, RATIOS, calibration, reference_ms=2.0)
    assert found.latency_ms == pytest.approx(2.0 * (0.9 * 2 + 0.25 + 1.1 * 3 + 0.9 * 2))
    assert found.pairs_ms == pytest.approx(0.5)
    assert [part.latency_ms for part in found.parts] == pytest.approx([3.6, 6.6, 3.6])


def test_what_crosses_the_boundary_is_taken_off() -> None:
    calibration = Calibration(method="boundary", cv_error=0.0, networks=9, global_scale=0.9, boundary_ratio=0.4)
    found = predict(NETWORK, RATIOS, calibration, reference_ms=2.0)
    shares = [0.9 * (ratio - 0.4 * boundary_millions(spec)) for spec, ratio in ((A, 2), (B, 3), (A, 2))]
    assert found.latency_ms == pytest.approx(2.0 * sum(shares))
    assert [part.latency_ms for part in found.parts] == pytest.approx([2.0 * share for share in shares])
    assert found.rel_ci == pytest.approx(0.9 * math.hypot(2 * 2 * 0.01, 3 * 0.02) / sum(shares))


def test_what_is_missing_is_named_and_counted() -> None:
    assert missing(NETWORK, {A: None}) == [B]
    with pytest.raises(PredictionError, match=r"no latency for conv s8 .* and 1 more .*latency-db profile"):
        predict(NETWORK, {}, Calibration.identity(), 1.0)
