"""How pictures look: what those of a report and those of a search share. Matplotlib is loaded when one is drawn."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from latency_db.errors import LatencyDbError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#66727f"
BLUE = "#1f6feb"
RED = "#d1242f"
DPI = 160
TITLE_CHARACTERS_PER_INCH = 11


def new_figure(width: float, height: float) -> Figure:
    """An empty figure.

    Args:
        width: in inches, of :data:`DPI` pixels.
        height: in inches.

    Raises:
        LatencyDbError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise LatencyDbError("the picture needs matplotlib", hint='pip install "latency-db[report]"') from error
    # A Figure of its own, not pyplot's: no global state, no display, safe in any thread.
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def set_title(axes: Axes, title: str, width: float) -> None:
    """A heading at the left, in as many lines as it needs.

    Args:
        axes: what it stands above.
        title: the text, taken literally.
        width: of the figure, or of the part of it that the axes take, in inches.
    """
    heading = textwrap.fill(title, round(TITLE_CHARACTERS_PER_INCH * width))
    axes.set_title(heading, loc="left", fontsize=11, fontweight="bold", color=INK, pad=10, parse_math=False)


def style_axes(axes: Axes, *, grid: bool = True) -> None:
    """Quiet spines, ticks and grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c3cad1")
    if grid:
        axes.grid(color="#e8ecef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
