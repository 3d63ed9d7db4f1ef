"""The most probable network whose predicted latency lies in a band."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from latency_db.errors import InputError, PredictionError
from latency_db.relaxed.costs import costs
from latency_db.table import LatencyTable
from searcher.band_search import Band, BandSearch
from searcher.draw_latency import Latency
from searcher.draw_likelihood import Likelihood
from searcher.draws import architecture
from searcher.space import FasterSegSpace
from trainer.architecture import Architecture

BUDGET = 50_000
"""Networks that are looked at in decreasing probability: some seconds."""


class BandError(PredictionError):
    """No network was found in the band.

    Attributes:
        fastest_ms: the lowest latency seen.
        slowest_ms: the highest.
    """

    def __init__(self, message: str, fastest_ms: float, slowest_ms: float) -> None:
        super().__init__(message)
        self.fastest_ms, self.slowest_ms = fastest_ms, slowest_ms


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network in the band.

    Attributes:
        architecture: the network.
        log_probability: log p of its likeliest draw, over all cells of the lattice.
        log_ratio: the same against the likeliest draw of all; 0 for the network that walking back gives.
        latency_ms: its predicted latency.
        proven: whether there is no more probable one in the band; otherwise none was found.
        seen: how many networks were looked at.
    """

    architecture: Architecture
    log_probability: float
    log_ratio: float
    latency_ms: float
    proven: bool
    seen: int


def most_probable_within(
    alpha: Tensor,
    beta: Tensor,
    gamma: Tensor,
    finals: Iterable[int],
    space: FasterSegSpace,
    table: LatencyTable,
    low_ms: float,
    high_ms: float,
    *,
    budget: int = BUDGET,
) -> Found:
    """The most probable network with low ≤ latency ≤ high.

    Every cell draws its operator, width and predecessor with p = softmax(α), softmax(γ), softmax(β) over what it has;
    walking back from the final cells gives the network. Its probability is that of its likeliest draw,

        log p = Σ_cells max log p(choice) − Σ_passed cells [max log p(choice) − log p(its choice)],

    in which the cells that no branch passes, and the widths of skips that vanish, are at their likeliest. (Summed over
    all its draws instead, a network would gain by every cell that it does not have.)

    Networks are looked at in decreasing probability, up to ``budget`` of them: one that is found then is proven to be
    the most probable. Beyond that, the draw that maximizes log p − μ · latency is followed as μ grows (or falls) until
    it crosses the band, and what was met in the band on the way is improved by changing one choice or two at a time.
    The result is the same every time.

    Args:
        alpha: (L, S, O) logits.
        beta: (L, S, 2) logits, from the finer scale (0) or from the cell's own (1).
        gamma: (L, S, X) logits.
        finals: the scales at which the branches end.
        space: the settings; those of the table's space.
        table: predicts the latencies.
        low_ms: the least latency, to 1e-9 of it.
        high_ms: the largest.
        budget: how many networks to look at in decreasing probability.

    Raises:
        BandError: none was found; it says what latencies there are.
        InputError: a shape that is not the lattice's, no such branches, logits that are no numbers, an empty band, or a
            table of another space.
    """
    if not (math.isfinite(low_ms) and math.isfinite(high_ms) and low_ms <= high_ms):
        raise InputError(f"no latency lies between {low_ms} and {high_ms} ms")
    if not isinstance(table.space, FasterSegSpace) or table.space.settings != space.settings:
        raise InputError("the latency table is of another space")
    ends, lattice = tuple(finals), space.lattice
    latency = Latency(costs(table), ends)
    search = BandSearch(
        Likelihood(alpha, beta, gamma, lattice),
        latency,
        [lattice.scales.index(final) for final in ends],
        Band.around(low_ms, high_ms),
    )
    draw, proven = search.run(budget)
    if draw is None:
        branches = "+".join(map(str, ends))
        raise BandError(
            f"no network with branches {branches} {'takes' if proven else 'was found that takes'} between {low_ms:.4g} "
            f"and {high_ms:.4g} ms: {'they take' if proven else 'those seen take'} from {search.fastest_ms:.4g} to "
            f"{search.slowest_ms:.4g} ms",
            search.fastest_ms,
            search.slowest_ms,
        )
    result = architecture(draw, ends, space)
    loss = search.loss_of(draw)
    return Found(
        architecture=result,
        log_probability=search.likelihood.mode_log_probability - loss,
        log_ratio=0.0 - loss,
        latency_ms=table.predict(space.decompose(result, table.image, table.batch)).latency_ms,
        proven=proven,
        seen=search.seen,
    )
