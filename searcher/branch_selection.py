"""Which branches a network ends with (Appendix B of FasterSeg)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from searcher.result import Candidate


def objective(miou: float, latency_ms: float, target_ms: float, exponent: float) -> float:
    """ACC · (LAT / T)^w (Eq. 5); with α = β = w in Eq. 6, as the paper has it, T does not change the order.

    Args:
        miou: ACC, in [0, 1].
        latency_ms: LAT.
        target_ms: T.
        exponent: w, not positive; 0 for accuracy alone.
    """
    return miou * (latency_ms / target_ms) ** exponent


def choose(candidates: Sequence[Candidate], eligible: Sequence[bool] | None = None) -> tuple[Candidate, ...]:
    """The same, with the best of them marked.

    The best has the highest score; among equals, and where nothing was evaluated, the lowest latency.

    Args:
        candidates: at least one.
        eligible: which may be the best, at least one; None: all.
    """
    among = [one for one, may in zip(candidates, eligible or [True] * len(candidates), strict=True) if may]
    best = min(among, key=lambda one: (-(one.score if one.score is not None else 0.0), one.latency_ms))
    return tuple(replace(one, chosen=one is best) for one in candidates)
