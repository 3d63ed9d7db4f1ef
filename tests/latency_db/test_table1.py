"""Table 1 of the paper: what its convolutions cost and how far they see."""

from __future__ import annotations

import pytest

from backends.samples import Estimate
from latency_db import table1


def test_the_input_is_the_papers() -> None:
    for spec in table1.specs():
        assert spec.input_shapes == ((1, 256, 32, 64),)
        assert spec.output_shape == (1, 256, 32, 64)


@pytest.mark.parametrize(
    ("op", "gmacs", "mparams", "field"),
    # The paper's own figures; a quarter of the multiply-adds where the map is halved.
    [
        ("conv", 1.21, 0.59, 1),
        ("conv_group2", 0.60, 0.30, 1),
        ("conv_dilation2", 1.21, 0.59, 2),
        ("zoomed_conv", 0.30, 0.59, 2),
    ],
)
def test_the_counts_are_the_papers(op: str, gmacs: float, mparams: float, field: float) -> None:
    row = next(row for row in table1.rows({}) if row.op == op)
    assert row.macs / 1e9 == pytest.approx(gmacs, abs=0.0051)
    assert row.parameters / 1e6 == pytest.approx(mparams, abs=0.0051)
    assert row.receptive_field == field


def test_latencies_appear_where_they_are_known() -> None:
    conv = table1.specs()[0]
    rows = {row.op: row for row in table1.rows({conv: Estimate(value=1.5, rel_ci=0.01, visits=5)})}
    assert (rows["conv"].latency_ms, rows["conv"].rel_ci) == (1.5, 0.01)
    assert (rows["zoomed_conv"].latency_ms, rows["zoomed_conv"].rel_ci) == (None, None)
