"""How much each family of choices can change a target's latency, and the weights that balance them (Table 2, Eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latency_db.errors import InputError
from latency_db.relaxed.chain import FINER, OWN
from latency_db.relaxed.module import RelaxedLatency
from latency_db.table import LatencyTable

CHUNK = 1024
"""So many architectures at once: a few tens of MB."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What each axis can change, in ms, the other two axes uniform; means over the branch sets.

    Attributes:
        delta_operator_ms: ΔO, the slowest operator everywhere minus the fastest.
        delta_downsample_ms: Δs, the slowest downsampling positions minus the fastest.
        delta_expansion_ms: Δχ, the widest everywhere minus the narrowest.
        slowest_operator, fastest_operator: which they are.
        uniform_ms: with all three axes uniform.
    """

    delta_operator_ms: float
    delta_downsample_ms: float
    delta_expansion_ms: float
    slowest_operator: str
    fastest_operator: str
    uniform_ms: float

    @property
    def can_be_balanced(self) -> bool:
        """Whether every axis changes something."""
        return min(self.delta_operator_ms, self.delta_downsample_ms, self.delta_expansion_ms) > 0

    @property
    def weights(self) -> tuple[float, float, float]:
        """(w1, w2, w3) with w1·ΔO = w2·Δs = w3·Δχ and w1 + w2 + w3 = 1 (the footnote to Eq. 3).

        Raises:
            InputError: an axis that changes nothing has no weight that balances it.
        """
        deltas = (self.delta_operator_ms, self.delta_downsample_ms, self.delta_expansion_ms)
        names = ("operators", "downsampling positions", "expansion ratios")
        for delta, name in zip(deltas, names, strict=True):
            if not delta > 0:
                raise InputError(f"the {name} of this space do not change the latency: no weights balance them")
        inverse = [1 / delta for delta in deltas]
        w1, w2, w3 = (one / sum(inverse) for one in inverse)
        return w1, w2, w3


def sensitivity(table: LatencyTable) -> Sensitivity:
    """Measure the three axes of a table's space.

    Raises:
        InputError: the space is no lattice of cells.
    """
    relaxed = RelaxedLatency(table)
    alpha, beta, gamma = (
        torch.zeros(shape, dtype=torch.float64)
        for shape in (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    )
    alphas = _one_operator(relaxed)
    by_operator = relaxed(alphas, beta, gamma).mean(-1)
    widths = torch.stack([_peaked(relaxed.gamma_shape, x) for x in range(len(relaxed.chis))])
    by_width = relaxed(alpha, beta, widths, probabilities=("gamma",)).mean(-1)
    slowest, fastest = int(by_operator.argmax()), int(by_operator.argmin())
    positions = torch.cat(
        [relaxed(alpha, betas, gamma, probabilities=("beta",)).mean(-1) for betas in _chunks(relaxed)]
    )
    widest, narrowest = (relaxed.chis.index(pick(relaxed.chis)) for pick in (max, min))
    return Sensitivity(
        delta_operator_ms=float(by_operator[slowest] - by_operator[fastest]),
        delta_downsample_ms=float(positions.max() - positions.min()),
        delta_expansion_ms=float(by_width[widest] - by_width[narrowest]),
        slowest_operator=relaxed.ops[slowest],
        fastest_operator=relaxed.ops[fastest],
        uniform_ms=float(relaxed(alpha, beta, gamma).mean()),
    )


def balanced_weights(table: LatencyTable) -> tuple[float, float, float]:
    """(w1, w2, w3) of Eq. 3 for this target: each family pulls in proportion to what it can change."""
    return sensitivity(table).weights


def _peaked(shape: tuple[int, int, int], index: int) -> Tensor:
    hot = torch.zeros(shape, dtype=torch.float64)
    hot[..., index] = 1
    return hot


def _one_operator(relaxed: RelaxedLatency) -> Tensor:
    """(O, L, S, O) logits of each operator everywhere.

    A final cell does not offer the skip; there the other operators stay uniform.
    """
    # Far enough that float64 sees nothing of the others, and finite, so that a row without its peak is uniform.
    return torch.stack([1e3 * _peaked(relaxed.alpha_shape, op) for op in range(len(relaxed.ops))])


def _chunks(relaxed: RelaxedLatency) -> Iterator[Tensor]:
    """(n, L, S, 2) one-hot β for every way in which the branches can downsample."""
    batch: list[Tensor] = []
    for drops in drop_layers(relaxed.layers, len(relaxed.scales)):
        beta = _peaked(relaxed.beta_shape, OWN)
        for scale, layers in drops.items():
            for layer in layers:
                beta[layer, scale, FINER], beta[layer, scale, OWN] = 1, 0
        batch.append(beta)
        if len(batch) == CHUNK:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)


def drop_layers(layers: int, n_scales: int) -> Iterator[dict[int, frozenset[int]]]:
    """Per scale but the finest, the layers whose cells come from the finer scale: every case that matters, once.

    Which cells of a scale matter is decided from the coarsest down: its own final cell, and the cells at which coarser
    paths arrive. Each walks back along its scale to the nearest layer that drops, at the latest where the scale begins.
    """
    yield from _drops(n_scales - 1, frozenset({layers - 1}), layers)


def _drops(scale: int, arrivals: frozenset[int], layers: int) -> Iterator[dict[int, frozenset[int]]]:
    if scale == 0:
        yield {}
        return
    for chosen in _nearest(sorted(arrivals, reverse=True), scale):
        below = frozenset({layers - 1} | {layer - 1 for layer in chosen})
        for rest in _drops(scale - 1, below, layers):
            yield {scale: chosen, **rest}


def _nearest(arrivals: list[int], first: int) -> Iterator[frozenset[int]]:
    """Every set of layers at which paths that arrive at these layers, last one first, can leave their scale."""
    if not arrivals:
        yield frozenset()
        return
    for drop in range(first, arrivals[0] + 1):
        # Paths that arrive after the drop meet this one and leave with it.
        earlier = [layer for layer in arrivals[1:] if layer < drop]
        for rest in _nearest(earlier, first):
            yield frozenset({drop}) | rest
