"""What the pictures of a search are made of. Matplotlib is loaded only when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latency_db.report.style import INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

WIDTH = 8.0
"""Of every picture, in inches."""
# Okabe and Ito's palette: told apart by people who see colours otherwise, too.
SKY, BLUE, ORANGE, VERMILION = "#56b4e9", "#0072b2", "#e69f00", "#d55e00"
GREEN, PURPLE, YELLOW, DARK = "#009e73", "#cc79a7", "#f0e442", "#4d4d4d"
TARGET_DASHES = (0, (4, 3))
REMARK = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "boxstyle": "round,pad=0.2"}
"""The box around a remark, so that it can be read whatever it stands on."""
LEGEND_CHARACTERS = 110
"""So many fit side by side."""


def whole_ticks() -> MaxNLocator:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, min_n_ticks=1)


def note(axes: Axes, text: str, x: float) -> None:
    """A small remark at the top, right of x."""
    axes.annotate(
        text,
        (x, 1),
        (4, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
        color=MUTED,
        bbox=REMARK,
        zorder=5,
    )


def legend_below(figure: Figure, axes: Axes) -> None:
    """Below the figure, its texts taken literally."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(4, len(labels), LEGEND_CHARACTERS // (6 + max(map(len, labels), default=1))))
    legend = figure.legend(
        handles, labels, loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK, ncols=columns
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def say(axes: Axes, text: str) -> None:
    """In the place of what is not there yet."""
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)
