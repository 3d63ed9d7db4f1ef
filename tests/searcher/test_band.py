"""The most probable network in a band: against all networks of small lattices, and at full size."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from latency_db.errors import InputError
from latency_db.relaxed.costs import costs
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.band import BandError, most_probable_within
from searcher.derive import derive, walk_back
from searcher.draw_latency import Latency
from searcher.draw_likelihood import Likelihood
from searcher.draws import Draws, architecture, visits
from searcher.lattice import Choice
from searcher.likeliest import Likeliest
from searcher.space import FasterSegSpace
from tests.latency_db.tables import random_table
from trainer.architecture import Architecture

Logits = tuple[Tensor, Tensor, Tensor]


def space_of(**settings: object) -> FasterSegSpace:
    small: dict[str, object] = {"layers": 4, "chis": (2, 3), "head_chi": 2, "stem_widths": (4, 8, 16), "num_classes": 5}
    return FasterSegSpace(**{**small, **settings})


def logits_of(space: FasterSegSpace, seed: int, scale: float = 1.0) -> Logits:
    generator = torch.Generator().manual_seed(seed)
    lattice = space.lattice
    alpha, beta, gamma = (
        scale * torch.randn(lattice.layers, len(lattice.scales), n, generator=generator, dtype=torch.float64)
        for n in (len(lattice.ops), 2, len(lattice.chis))
    )
    return alpha, beta, gamma


def latency_ms(table: LatencyTable, network: Architecture) -> float:
    return table.predict(table.space.decompose(network, table.image, table.batch)).latency_ms


TINY = space_of(layers=3, scales=(8, 16))
TABLE = random_table(TINY)


@cache
def every_network(seed: int) -> dict[Architecture, tuple[float, float]]:
    """All networks of the tiny lattice: log p of the likeliest of their draws, and latency. By trying every draw."""
    alpha, beta, gamma = logits_of(TINY, seed)
    lattice = TINY.lattice
    options: list[list[tuple[float, Choice]]] = []
    for cell in lattice.cells():
        place = cell[1], lattice.scales.index(cell[0])
        ops, finer = lattice.operators(cell), lattice.predecessors(cell)
        log_op = alpha[place][[lattice.ops.index(op) for op in ops]].log_softmax(-1).tolist()
        log_finer = beta[place][[0 if one else 1 for one in finer]].log_softmax(-1).tolist()
        log_chi = [0.0] if lattice.is_last(cell) else gamma[place].log_softmax(-1).tolist()
        chis: tuple[int | None, ...] = (None,) if lattice.is_last(cell) else lattice.chis
        options.append(
            [
                (log_op[i] + log_finer[j] + log_chi[k], Choice(ops[i], chis[k], finer[j]))
                for i, j, k in itertools.product(range(len(ops)), range(len(finer)), range(len(chis)))
            ]
        )
    best: dict[Architecture, float] = {}
    for draw in itertools.product(*options):
        network = TINY.architecture(dict(zip(lattice.cells(), (one for _, one in draw), strict=True)), (8, 16))
        best[network] = max(best.get(network, -math.inf), math.fsum(p for p, _ in draw))
    return {network: (p, latency_ms(TABLE, network)) for network, p in best.items()}


def test_networks_come_in_decreasing_probability_each_once() -> None:
    known = every_network(0)
    likelihood = Likelihood(*logits_of(TINY, 0), TINY.lattice)
    seen: dict[Architecture, float] = {}
    last = math.inf
    for draws in Likeliest(likelihood, (0, 1)).batches(100):
        losses = likelihood.losses(draws, visits(draws.down, (0, 1)))
        for number, loss in enumerate(losses.tolist()):
            network = architecture(draws.at(number), (8, 16), TINY)
            assert network not in seen
            seen[network] = likelihood.mode_log_probability - loss
            assert seen[network] <= last + 1e-9
            last = seen[network]
    assert seen.keys() == known.keys()
    assert all(p == pytest.approx(known[network][0], abs=1e-9) for network, p in seen.items())


@pytest.mark.parametrize(
    "settings", [{"layers": 6}, {"branches": 3, "scales": (8, 16, 32, 64)}, {"branches": 1}], ids=str
)
@pytest.mark.parametrize("calibrated", [True, False])
def test_latencies_are_the_predictions(settings: dict[str, object], calibrated: bool) -> None:
    space = space_of(**settings)
    table, lattice = random_table(space, calibrated=calibrated), space.lattice
    for finals in lattice.branch_sets():
        latency = Latency(costs(table), finals)
        logits = [logits_of(space, seed) for seed in range(20)]
        modes = [Likelihood(*each, lattice).mode for each in logits]
        draws = Draws(*(np.stack([getattr(mode, part) for mode in modes]) for part in ("op", "chi", "down")))
        found = latency(draws, visits(draws.down, [lattice.scales.index(s) for s in finals])).tolist()
        networks = [walk_back(*each, finals, space) for each in logits]
        assert found == pytest.approx([latency_ms(table, network) for network in networks], rel=1e-9)
        assert networks == [architecture(mode, finals, space) for mode in modes]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [10**6, 1], ids=["in order", "around"])
def test_the_most_probable_in_a_band_against_all_networks(seed: int, budget: int) -> None:
    known = every_network(seed)
    latencies = sorted(ms for _, ms in known.values())
    missed = 0
    for place in (0.001, 0.02, 0.2, 0.4, 0.6, 0.8, 0.98, 0.999):
        middle = latencies[int(place * len(latencies))]
        low, high = 0.98 * middle, 1.02 * middle
        best = max(p for p, ms in known.values() if low <= ms <= high)
        found = most_probable_within(*logits_of(TINY, seed), (8, 16), TINY, TABLE, low, high, budget=budget)
        assert low <= found.latency_ms <= high
        assert (found.log_probability, found.latency_ms) == pytest.approx(known[found.architecture], abs=1e-9)
        assert found.log_probability <= best + 1e-9
        optimal = found.log_probability > best - 1e-9
        assert optimal or not found.proven
        if budget > 1:
            assert found.proven
        missed += not optimal
    # Latencies at random have neighbours that have nothing in common: the worst case for what looks around.
    assert missed <= 2


def test_a_band_of_one_latency_finds_its_network() -> None:
    _, ms = next(iter(every_network(1).values()))
    found = most_probable_within(*logits_of(TINY, 1), (8, 16), TINY, TABLE, ms, ms)
    assert found.latency_ms == pytest.approx(ms, rel=1e-9)


def test_without_a_bound_it_is_the_likeliest_choice_of_every_cell() -> None:
    space = space_of(layers=8)
    table = random_table(space)
    for seed, finals in itertools.product(range(5), space.lattice.branch_sets()):
        logits = logits_of(space, seed)
        found = most_probable_within(*logits, finals, space, table, 0.0, 1e9)
        assert found.architecture == walk_back(*logits, finals, space)
        assert found.log_ratio == 0 and found.proven
    everywhere = [torch.zeros_like(tensor) for tensor in logits]
    found = most_probable_within(*everywhere, (8, 16), space, table, 0.0, 1e9)
    assert found.architecture == derive(*everywhere, (8, 16), space)


def test_an_empty_band_says_what_there_is() -> None:
    latencies = [ms for _, ms in every_network(0).values()]
    with pytest.raises(BandError, match=r"branches 8\+16 takes between 0.1 and 0.2 ms: they take from") as raised:
        most_probable_within(*logits_of(TINY, 0), (8, 16), TINY, TABLE, 0.1, 0.2, budget=10**6)
    assert (raised.value.fastest_ms, raised.value.slowest_ms) == pytest.approx((min(latencies), max(latencies)))
    with pytest.raises(BandError, match="those seen take from") as raised:
        most_probable_within(*logits_of(TINY, 0), (8, 16), TINY, TABLE, 1e4, 2e4, budget=1)
    assert raised.value.slowest_ms == pytest.approx(max(latencies), rel=0.02)


def test_what_makes_no_sense_is_refused_in_one_line() -> None:
    alpha, beta, gamma = logits_of(TINY, 0)
    for logits, finals, band, message in (
        ((alpha, beta, gamma), (8, 16), (2.0, 1.0), "no latency lies between"),
        ((alpha, beta, gamma), (8, 16), (math.nan, 1.0), "no latency lies between"),
        ((alpha, beta, gamma), (8,), (1.0, 2.0), "no branches"),
        ((alpha, beta, gamma), (8, 32), (1.0, 2.0), "no branches"),
        ((alpha[:2], beta, gamma), (8, 16), (1.0, 2.0), "alpha has shape"),
        ((alpha, beta, gamma * math.nan), (8, 16), (1.0, 2.0), "gamma of layer 0"),
    ):
        with pytest.raises(InputError, match=message):
            most_probable_within(*logits, finals, TINY, TABLE, *band)
    with pytest.raises(InputError, match="another space"):
        most_probable_within(*logits_of(space_of(), 0), (8, 16), space_of(), TABLE, 1.0, 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("finals", [(16, 32), (8, 32)])
def test_targets_over_the_whole_range_of_a_device_are_hit(finals: tuple[int, ...]) -> None:
    with Store.open("sqlite://") as store:
        table = LatencyTable.load(device="1080ti", image="1024x2048", store=store)
    assert isinstance(table.space, FasterSegSpace)
    space = table.space
    logits = logits_of(space, 0, scale=0.5)
    ratios = []
    for target in (4.5, 6.0, 8.0, 11.0, 15.0):
        found = most_probable_within(*logits, finals, space, table, 0.95 * target, 1.05 * target, budget=5000)
        assert abs(found.latency_ms / target - 1) <= 0.05
        assert found == most_probable_within(
            *logits, finals, space, table, 0.95 * target, 1.05 * target, budget=5000
        ), "the same every time"
        ratios.append(found.log_ratio)
    # The farther from the likeliest network, the less probable: one peak.
    peak = ratios.index(max(ratios))
    assert ratios[: peak + 1] == sorted(ratios[: peak + 1])
    assert ratios[peak:] == sorted(ratios[peak:], reverse=True)
