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
ROOM = 1.6
"""The axis is so many times as long as the longest bar: labels stand behind the bars."""
HEADING = 0.6
"""Of what stands above and below all panels, in inches."""
DRAWN = "#aab4be"
"""Of the human-designed networks; the others are blue."""


def render_comparison(comparison: Comparison) -> bytes:
    """Frames per second, one panel per image size, the fastest above; a PNG.

    Beside a bar, × is relative to the fastest human-designed network of its panel. Networks that were not measured have
    no bar; the whisker is the 95% interval.

    Raises:
        LatencyDbError: matplotlib is not installed.
    """
    groups = {
        name: sorted((row for row in rows if row.fps is not None), key=lambda row: row.fps or 0.0)
        for name, rows in comparison.groups.items()
    }
    heights = [AROUND + BAR * max(1, len(rows)) for rows in groups.values()]
    figure = new_figure(WIDTH, HEADING + sum(heights))
    from matplotlib.patches import Patch

    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        _bars(axes, rows)
        set_title(axes, name, WIDTH)
    figure.suptitle(_line(comparison.target), fontsize=8.5, color=MUTED, x=0.01, ha="left", parse_math=False)
    figure.legend(
        handles=[Patch(color=DRAWN, label="human-designed"), Patch(color=BLUE, label="searched, or your own")],
        loc="outside lower left",
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        ncols=2,
    )
    return png(figure)


def _line(target: Target) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in target.settings.items())
    return f"{target.device}: {target.backend} {target.runtime_version}, {settings}"


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    values = [row.fps or 0.0 for row in rows]
    errors = [_error(row) for row in rows]
    ends = [value + error for value, error in zip(values, errors, strict=True)]
    places = range(len(rows))
    axes.barh(
        places,
        values,
        height=0.68,
        color=[DRAWN if row.entry.human_designed else BLUE for row in rows],
        xerr=errors,
        error_kw={"ecolor": MUTED, "elinewidth": 1, "capsize": 2},
    )
    for place, row, end in zip(places, rows, ends, strict=True):
        axes.annotate(_label(row), (end, place), (5, 0), textcoords="offset points", va="center", fontsize=8.5)
    # At the paper's resolutions each network has a size of its own.
    mixed = len({row.entry.image for row in rows}) > 1
    names = [row.entry.subject.name + (f" @{row.entry.image}" if mixed else "") for row in rows]
    axes.set_yticks(list(places), labels=names, parse_math=False)
    axes.set_xlabel("frames per second")
    axes.set_xlim(0, ROOM * max(ends, default=1.0))
    style_axes(axes)
    axes.grid(visible=False, axis="y")


def _error(row: Row) -> float:
    """Half-width of the interval, in frames per second; 0 where it is not known."""
    if row.fps is None or row.latency is None or not math.isfinite(row.latency.rel_ci):
        return 0.0
    return row.fps * row.latency.rel_ci


def _label(row: Row) -> str:
    assert row.fps is not None and row.latency is not None
    parts = [
        f"{row.fps:.2f} FPS" if row.fps < 100 else f"{row.fps:.0f} FPS",
        f"{row.latency.value:.2f} ms",
        f"{row.cost.macs / 1e9:.2f} GMAC",
    ]
    if row.relative_fps is not None:
        parts.append(f"×{row.relative_fps:.2f}")
    return ", ".join(parts)
