"""Sensitivities and the weights that balance them."""

from __future__ import annotations

import itertools

import pytest
import torch

from latency_db.errors import InputError
from latency_db.relaxed import RelaxedLatency, Sensitivity, balanced_weights, sensitivity
from latency_db.relaxed.sensitivity import drop_layers
from searcher.space import FasterSegSpace
from tests.latency_db.tables import random_table


def made(**changes: float) -> Sensitivity:
    values = {"delta_operator_ms": 10.42, "delta_downsample_ms": 0.01, "delta_expansion_ms": 5.54, "uniform_ms": 10.0}
    return Sensitivity(**(values | changes), slowest_operator="conv_x2", fastest_operator="skip")


def test_the_papers_deltas_give_the_papers_weights() -> None:
    assert [round(weight, 3) for weight in made().weights] == [0.001, 0.997, 0.002]


def test_weights_balance() -> None:
    table = random_table(FasterSegSpace())
    found = sensitivity(table)
    w1, w2, w3 = balanced_weights(table)
    assert w1 + w2 + w3 == pytest.approx(1)
    assert w1 * found.delta_operator_ms == pytest.approx(w2 * found.delta_downsample_ms)
    assert w1 * found.delta_operator_ms == pytest.approx(w3 * found.delta_expansion_ms)


def test_an_axis_that_changes_nothing_has_no_weight() -> None:
    with pytest.raises(InputError, match="expansion ratios"):
        assert made(delta_expansion_ms=0.0).weights


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_downsampling_extremes_are_those_of_every_beta(branches: int) -> None:
    """Against all one-hot β of a small lattice, also those that no branch notices."""
    space = FasterSegSpace(layers=5, chis=(4, 8), branches=branches)
    table = random_table(space)
    relaxed = RelaxedLatency(table)
    free = [
        (layer, scale)
        for layer in range(5)
        for scale in (1, 2)
        if len(space.lattice.predecessors((8 * 2**scale, layer))) == 2 and layer >= scale
    ]
    betas = torch.zeros(2 ** len(free), *relaxed.beta_shape, dtype=torch.float64)
    betas[..., 1] = 1
    for number, picks in enumerate(itertools.product((0, 1), repeat=len(free))):
        for (layer, scale), pick in zip(free, picks, strict=True):
            betas[number, layer, scale] = torch.tensor([float(pick == 0), float(pick == 1)], dtype=torch.float64)
    uniform = (torch.zeros(shape, dtype=torch.float64) for shape in (relaxed.alpha_shape, relaxed.gamma_shape))
    alpha, gamma = uniform
    values = relaxed(alpha, betas, gamma, probabilities=("beta",)).mean(-1)
    expected = float(values.max() - values.min())
    assert sensitivity(table).delta_downsample_ms == pytest.approx(expected, rel=1e-12)


def test_operator_and_width_extremes() -> None:
    table = random_table(FasterSegSpace(layers=4))
    relaxed = RelaxedLatency(table)
    found = sensitivity(table)
    alpha, beta, gamma = (
        torch.zeros(shape, dtype=torch.float64)
        for shape in (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    )
    widest, narrowest = gamma.clone(), gamma.clone()
    widest[..., relaxed.chis.index(12)], narrowest[..., relaxed.chis.index(4)] = 60.0, 60.0
    expected = float(relaxed(alpha, beta, widest).mean() - relaxed(alpha, beta, narrowest).mean())
    assert found.delta_expansion_ms == pytest.approx(expected)
    slow, fast = alpha.clone(), alpha.clone()
    slow[..., relaxed.ops.index(found.slowest_operator)] = 60.0
    fast[:-1, :, relaxed.ops.index(found.fastest_operator)] = 60.0
    assert found.fastest_operator == "skip", "it vanishes at stride 1"
    expected = float(relaxed(slow, beta, gamma).mean() - relaxed(fast, beta, gamma).mean())
    assert found.delta_operator_ms == pytest.approx(expected)


def test_every_way_to_downsample_once() -> None:
    ways = list(drop_layers(16, 2))
    assert len(ways) == 15
    assert {tuple(way[1]) for way in ways} == {(layer,) for layer in range(1, 16)}
    three = [frozenset((scale, layers) for scale, layers in way.items()) for way in drop_layers(16, 3)]
    assert len(three) == len(set(three))
