"""The latency of a network as a sum over its operators, plus at most one term per adjacent pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backends.samples import Estimate
from latency_db.calibration import Calibration
from latency_db.errors import PredictionError
from latency_db.keys import OpSpec
from latency_db.space import Decomposition


@dataclass(frozen=True)
class Part:
    """One operator's share."""

    spec: OpSpec
    latency_ms: float
    rel_ci: float


@dataclass(frozen=True)
class Prediction:
    """A network's predicted latency.

    Attributes:
        latency_ms: the sum of the parts and of the pair terms.
        rel_ci: the operators' uncertainties, added in quadrature (an operator that is used twice counts twice over,
            fully correlated), relative to the sum. What the model itself leaves out is not in it.
        pairs_ms: what the terms of adjacent pairs add.
        parts: one per operator of the decomposition, in its order.
    """

    latency_ms: float
    rel_ci: float
    pairs_ms: float
    parts: tuple[Part, ...]


def missing(decomposition: Decomposition, known: Mapping[OpSpec, object]) -> list[OpSpec]:
    """The operators that there is no latency for."""
    return sorted({spec for spec in decomposition.specs if spec not in known})


def predict(
    decomposition: Decomposition, ratios: Mapping[OpSpec, Estimate], calibration: Calibration, reference_ms: float
) -> Prediction:
    """Predict in ms = reference_ms · (Σ calibrated operator ratios + Σ pair terms).

    Raises:
        PredictionError: an operator without a latency; the message names the first and counts the rest.
    """
    lacking = missing(decomposition, ratios)
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise PredictionError(f"no latency for {lacking[0].name}{more}", hint="measure it with latency-db profile")
    specs = decomposition.specs
    pairs_ms = sum(calibration.pair_ratio(specs[a], specs[b]) for a, b in decomposition.edges) * reference_ms
    parts = []
    errors: dict[OpSpec, float] = {}
    for spec in specs:
        share = calibration.operator_estimate(spec, ratios[spec]).scaled(reference_ms)
        parts.append(Part(spec, share.value, share.rel_ci))
        errors[spec] = errors.get(spec, 0.0) + share.value * share.rel_ci
    total = sum(part.latency_ms for part in parts) + pairs_ms
    rel_ci = math.sqrt(sum(error**2 for error in errors.values())) / total
    return Prediction(total, rel_ci, pairs_ms, tuple(parts))
