"""A comparison as a bar chart. Matplotlib is loaded only when it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from latency_db.report.style import BLUE, INK, MUTED, new_figure, png, set_title, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from backends.protocol import Target
    from trainer.compare import Comparison, Row

WIDTH = 8.0
"""In inches."""
BAR = 0.36
"""Of one bar with the space around it, in inches."""
AROUND = 1.0
"""Of a panel beside its bars, in inches."""
DRAWN = "#aab4be"
"""Of the human-designed networks; the others are blue."""


def render_comparison(comparison: Comparison) -> bytes:
    """Frames per second, one panel per image size, the fastest above; a PNG.

    Networks that were not measured have no bar; the whisker is the 95% interval.

    Raises:
        LatencyDbError: matplotlib is not installed.
    """
    groups = {
        name: sorted((row for row in rows if row.fps is not None), key=lambda row: row.fps or 0.0)
        for name, rows in comparison.groups.items()
    }
    heights = [AROUND + BAR * max(1, len(rows)) for rows in groups.values()]
    figure = new_figure(WIDTH, sum(heights))
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        _bars(axes, rows)
        set_title(axes, f"{name} on {_line(comparison.target)}", WIDTH)
    return png(figure)


def _line(target: Target) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in target.settings.items())
    return f"{target.device}: {target.backend} {target.runtime_version}, {settings}"


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    values = [row.fps or 0.0 for row in rows]
    errors = [fps * (row.latency.rel_ci if row.latency else 0.0) for fps, row in zip(values, rows, strict=True)]
    places = range(len(rows))
    axes.barh(
        places,
        values,
        height=0.68,
        color=[DRAWN if row.entry.human_designed else BLUE for row in rows],
        xerr=[error if math.isfinite(error) else 0.0 for error in errors],
        error_kw={"ecolor": MUTED, "elinewidth": 1, "capsize": 2},
    )
    for place, row, fps in zip(places, rows, values, strict=True):
        axes.annotate(
            _label(row, fps), (fps, place), (7, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    axes.set_yticks(list(places), labels=[row.entry.subject.name for row in rows], parse_math=False)
    axes.set_xlabel("frames per second")
    axes.set_xlim(0, 1.45 * max(values, default=1.0))
    style_axes(axes)
    axes.grid(visible=False, axis="y")


def _label(row: Row, fps: float) -> str:
    parts = [f"{fps:.3g}", f"{1e3 / fps:.4g} ms", f"{row.cost.macs / 1e9:.1f} GMAC"]
    if row.relative_fps is not None:
        parts.append(f"×{row.relative_fps:.2f}")
    return " · ".join(parts)
