"""Predicted against measured latency, as a picture. Matplotlib is loaded only when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latency_db.correlate import Agreement
from latency_db.report.style import BLUE, INK, MUTED, RED, new_figure, png, set_title, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = BLUE
IDENTITY = RED
BAND = 0.05
SIZE = 6.0
"""In inches, to either side."""


def scatter_png(
    predicted_ms: Sequence[float],
    measured_ms: Sequence[float],
    agreement: Agreement,
    ceiling: float,
    title: str,
    path: Path,
) -> None:
    """Write the picture of :func:`render_scatter` to a file.

    Raises:
        LatencyDbError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    path.write_bytes(render_scatter(predicted_ms, measured_ms, agreement, ceiling, title))


def render_scatter(
    predicted_ms: Sequence[float], measured_ms: Sequence[float], agreement: Agreement, ceiling: float, title: str
) -> bytes:
    """A PNG after the paper's Figure 3: measured on x, predicted on y, the identity line in red.

    Args:
        predicted_ms: one prediction per network.
        measured_ms: the measurements, in the same order.
        agreement: the figures in the corner.
        ceiling: the noise ceiling of r.
        title: stands above it.

    Raises:
        LatencyDbError: matplotlib is not installed.
    """
    figure = new_figure(SIZE, SIZE)
    axes = figure.add_subplot()
    low, high = _limits(predicted_ms, measured_ms)
    _draw_identity(axes, low, high)
    axes.scatter(
        measured_ms, predicted_ms, s=26, color=POINTS, alpha=0.75, edgecolors="white", linewidths=0.6, zorder=3
    )
    _annotate(axes, agreement, ceiling)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="measured latency (ms)", ylabel="predicted latency (ms)")
    axes.set_aspect("equal")
    set_title(axes, title, SIZE)
    style_axes(axes)
    return png(figure)


def _limits(predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> tuple[float, float]:
    values = (*predicted_ms, *measured_ms)
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.06 * high
    return max(low - margin, 0.0), high + margin


def _draw_identity(axes: Axes, low: float, high: float) -> None:
    ends = (low, high)
    axes.fill_between(
        ends,
        [end * (1 - BAND) for end in ends],
        [end * (1 + BAND) for end in ends],
        color=IDENTITY,
        alpha=0.08,
        linewidth=0,
        zorder=1,
        label=f"±{BAND:.0%}",
    )
    axes.plot(ends, ends, color=IDENTITY, linewidth=1.4, zorder=2, label="y = x")


def _annotate(axes: Axes, agreement: Agreement, ceiling: float) -> None:
    lines = (f"r = {agreement.pearson:.4f}", f"n = {agreement.networks}", f"MAPE = {agreement.mape:.2%}")
    axes.text(
        0.04,
        0.96,
        "\n".join(lines),
        transform=axes.transAxes,
        va="top",
        fontsize=12,
        color=INK,
        linespacing=1.5,
        zorder=4,
    )
    axes.text(
        0.97,
        0.085,
        f"noise ceiling of r: {ceiling:.4f}" if math.isfinite(ceiling) else "noise ceiling of r: unknown",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        fontsize=9,
        color=MUTED,
        zorder=4,
    )
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=MUTED, ncols=2, borderaxespad=0.8)
