"""Relaxed latency: what architectures drawn at random cost on average, as something that gradients flow through."""

from latency_db.relaxed.module import FAMILIES, RelaxedLatency, sample_widths
from latency_db.relaxed.sensitivity import Sensitivity, balanced_weights, sensitivity

__all__ = ["FAMILIES", "RelaxedLatency", "Sensitivity", "balanced_weights", "sample_widths", "sensitivity"]
