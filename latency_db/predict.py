"""The latency of a network as a sum over its operators, plus at most one term per adjacent pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backends.samples import Estimate
from latency_db.calibrate import Calibration
from latency_db.errors import PredictionError
from latency_db.keys import OpSpec
from latency_db.space import Decomposition


@dataclass(frozen=True)
class Part:
    """One operator's share, its pair terms with the operators it feeds included."""

    spec: OpSpec
    latency_ms: float
    rel_ci: float


@dataclass(frozen=True)
class Prediction:
    """A network's predicted latency.

    Attributes:
        latency_ms: the sum of the parts.
        rel_ci: the operators' uncertainties, added in quadrature (an operator that is used twice counts twice over,
            fully correlated), relative to the sum. What the model itself leaves out is not in it.
        parts: one per operator of the decomposition, in its order.
    """

    latency_ms: float
    rel_ci: float
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
    pairs = [0.0] * len(decomposition.specs)
    for producer, consumer in decomposition.edges:
        pairs[producer] += calibration.pair_ratio(decomposition.specs[producer], decomposition.specs[consumer])
    parts = []
    errors: dict[OpSpec, float] = {}
    for spec, pair in zip(decomposition.specs, pairs, strict=True):
        ratio = calibration.operator_ratio(spec, ratios[spec].value)
        parts.append(Part(spec, (ratio + pair) * reference_ms, ratios[spec].rel_ci))
        errors[spec] = errors.get(spec, 0.0) + ratio * ratios[spec].rel_ci * reference_ms
    total = sum(part.latency_ms for part in parts)
    return Prediction(total, math.sqrt(sum(error**2 for error in errors.values())) / total, tuple(parts))
