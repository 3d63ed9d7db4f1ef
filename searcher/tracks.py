"""Accuracy against latency over one search or several: whether they collapsed. Matplotlib is loaded to draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_db.report.style import INK, MUTED, new_figure, png, set_title, style_axes
from searcher._picture_parts import (
    BLUE,
    DARK,
    GREEN,
    ORANGE,
    PURPLE,
    REMARK,
    SKY,
    TARGET_DASHES,
    VERMILION,
    WIDTH,
    legend_below,
    note,
    say,
    whole_ticks,
)
from searcher.history import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

HEIGHT = 5.4
TRACK_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, DARK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
EPOCHS_MAP = "viridis"
LIGHTEST = 0.88
"""Of the map: its yellow end is hardly seen on white."""
LEAST_MIOU_SPAN, LEAST_LATENCY_SPAN = 10.0, 0.25
"""In percentage points, and over the highest latency: nearer than that, noise would look like travel."""


@dataclass(frozen=True)
class Track:
    """One search in a picture of several.

    Attributes:
        label: names it.
        records: its epochs, in order.
        target_ms: latency asked of the student.
    """

    label: str
    records: Sequence[EpochRecord]
    target_ms: float | None = None

    def points(self) -> list[tuple[int, float, float]]:
        """(epoch from 1, expected latency of the student in ms, mean mIoU of the student in %), per validated epoch."""
        return [
            (record.epoch + 1, record.latency_ms["student"], 100 * miou)
            for record in self.records
            if (miou := record.mean_miou("student")) is not None
        ]


def render_collapse(tracks: Sequence[Track], title: str = "Accuracy against latency of the supernet") -> bytes:
    """After the paper's Figure 4: the student's mIoU over its expected latency, a point per validated epoch.

    A search that collapses runs to the lower left: faster and worse. The last point of each is ringed.

    Args:
        tracks: the searches, each with a line and a marker of its own.
        title: stands above it.
    """
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    found = [track.points() for track in tracks]
    shade = _epoch_shade([epoch for points in found for epoch, _, _ in points])
    for index, (track, points) in enumerate(zip(tracks, found, strict=True)):
        label = track.label if points else f"{track.label} (not validated yet)"
        _draw_track(axes, points, index, label, shade)
    for target_ms in sorted({track.target_ms for track in tracks if track.target_ms is not None}):
        axes.axvline(target_ms, color=INK, linestyle=TARGET_DASHES, linewidth=1.1, zorder=1)
        note(axes, f"target {target_ms:g} ms", target_ms)
    axes.set(xlabel="expected latency of the supernet as student (ms)", ylabel="validation mIoU (%)")
    set_title(axes, title, WIDTH)
    style_axes(axes)
    if any(found):
        _widen(axes)
        bar = figure.colorbar(shade, ax=axes, pad=0.02, aspect=30, ticks=whole_ticks())
        bar.set_label("epoch", color=INK)
        bar.ax.tick_params(colors=MUTED, labelsize=9, length=3)
        bar.outline.set_visible(False)
    else:
        axes.set_xticks([])
        say(axes, "no epoch was validated yet")
    axes.text(
        *(0.012, 0.022, "↙ collapse: faster and worse"),
        transform=axes.transAxes,
        fontsize=8.5,
        color=MUTED,
        bbox=REMARK,
    )
    axes.scatter([], [], s=110, facecolors="none", edgecolors=INK, linewidths=1.6, label="last epoch")
    legend_below(figure, axes)
    return png(figure)


def _epoch_shade(epochs: Sequence[int]) -> ScalarMappable:
    """Colours of epochs, the later the darker."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    whole = colormaps[EPOCHS_MAP]
    shades = ListedColormap([whole(LIGHTEST * (1 - step / 255)) for step in range(256)])
    first, last = min(epochs, default=1), max(epochs, default=1)
    return ScalarMappable(Normalize(first, max(last, first + 1)), shades)


def _draw_track(
    axes: Axes, points: Sequence[tuple[int, float, float]], index: int, label: str, shade: ScalarMappable
) -> None:
    colour, marker = TRACK_COLOURS[index % len(TRACK_COLOURS)], MARKERS[index % len(MARKERS)]
    latency, miou = [point[1] for point in points], [point[2] for point in points]
    axes.plot(latency, miou, color=colour, linewidth=1.3, alpha=0.6, zorder=2)
    colours: Any = shade.to_rgba(np.array([epoch for epoch, _, _ in points], dtype=float))
    axes.scatter(latency, miou, c=colours, marker=marker, s=42, edgecolors="white", linewidths=0.6, zorder=3)
    ring: dict[str, Any] = {"marker": marker, "facecolors": "none", "edgecolors": INK, "linewidths": 1.6}
    axes.scatter(latency[-1:], miou[-1:], s=190, zorder=4, **ring)
    # For the legend: the line, and the marker without an epoch's colour.
    axes.plot(
        *([], []),
        color=colour,
        linewidth=1.6,
        marker=marker,
        markerfacecolor="white",
        markeredgecolor=colour,
        label=label,
    )


def _widen(axes: Axes) -> None:
    """Never so near that a search that stays where it is seems to travel."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    middle_x, middle_y = (left + right) / 2, (low + high) / 2
    half_x, half_y = (
        max(1.1 * (right - left), LEAST_LATENCY_SPAN * right) / 2,
        max(1.1 * (high - low), LEAST_MIOU_SPAN) / 2,
    )
    axes.set_xlim(max(0.0, middle_x - half_x), middle_x + half_x)
    # Room for the marker of a mIoU of nothing.
    axes.set_ylim(max(-1.5, middle_y - half_y), middle_y + half_y)
