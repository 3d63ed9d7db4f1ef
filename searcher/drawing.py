"""An architecture as a picture, after Figure 6 of FasterSeg. Matplotlib is loaded only when one is drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

from latency_db.report.style import DPI, INK, MUTED, new_figure
from searcher._picture_parts import BLUE, DARK, GREEN, ORANGE, PURPLE, SKY, VERMILION
from searcher.drawing_layout import Box, Layout, Line, lay_out
from trainer.architecture import FINEST, Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (GREEN, VERMILION, BLUE, PURPLE, ORANGE, SKY)
"""Of the branches by final scale, from the finest."""
SHARED, BANDS = "#e4e7eb", ("#f7f8fa", "#ffffff")
TINT = 0.84
"""How much white is in the fill of a branch's own cells."""
STRIP = 0.05
TITLE = 0.36


def draw_architecture(
    architecture: Architecture, *, title: str | None = None, image_format: Literal["png", "svg"] = "png"
) -> bytes:
    """Stem, cells, decoder and head: scales as rows, layers as columns, branches in colours.

    In a cell stand its operator, its expansion ratio and the channels that it emits; layers in which no branch has a
    cell (their skips vanished) have no column. A merge of the decoder stands for what brings its input up, too.

    Args:
        architecture: the network.
        title: stands above it.
        image_format: of the picture.

    Raises:
        LatencyDbError: matplotlib is not installed.
    """
    layout = lay_out(architecture)
    height = layout.height + (TITLE if title else 0.0)
    figure = new_figure(layout.width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, layout.width), ylim=(0, height))
    axes.axis("off")
    if title:
        axes.text(0.12, height - 0.2, title, fontsize=11, fontweight="bold", color=INK, va="center", parse_math=False)
    _draw_rows(axes, layout)
    for line in layout.lines:
        _draw_line(axes, line)
    for box in layout.boxes:
        _draw_box(axes, box)
    _draw_legend(axes, sorted(branch.s for branch in architecture.branches))
    buffer = io.BytesIO()
    # The same architecture gives the same file.
    metadata = {"Date": None} if image_format == "svg" else None
    figure.savefig(buffer, format=image_format, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def colour_of(final: int) -> str:
    """The colour of the branch that ends at this scale."""
    return COLOURS[(final // FINEST).bit_length() % len(COLOURS) - 1]


def _draw_rows(axes: Axes, layout: Layout) -> None:
    for index, (s, (low, high)) in enumerate(layout.rows.items()):
        axes.axhspan(low, high, color=BANDS[index % 2], linewidth=0, zorder=0)
        axes.text(0.12, (low + high) / 2, f"1/{s}", fontsize=9, color=MUTED, va="center")
    top = max(high for _, high in layout.rows.values()) + 0.15
    axes.text(0.12, top, "layer", fontsize=7.5, color=MUTED, va="center")
    for x, layer in layout.columns:
        axes.text(x, top, "…" if layer is None else str(layer), fontsize=7.5, color=MUTED, ha="center", va="center")


def _draw_line(axes: Axes, line: Line) -> None:
    colour = colour_of(line.finals[0]) if len(line.finals) == 1 else DARK
    xs, ys = zip(*line.points, strict=True)
    style = (0, (3, 2)) if line.side else "-"
    # Under the others: what goes past the cells matters less.
    axes.plot(
        xs,
        ys,
        color=colour,
        linewidth=0.9 if line.side else 1.4,
        linestyle=style,
        solid_joinstyle="round",
        zorder=1 if line.side else 2,
    )
    axes.annotate(
        "",
        line.points[-1],
        line.points[-2],
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": 0,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 11,
        },
        zorder=2,
    )
    if line.side:
        axes.plot(*line.points[0], marker="o", markersize=2.6, color=colour, zorder=2.5)


def _draw_box(axes: Axes, box: Box) -> None:
    from matplotlib.patches import Rectangle

    low = box.y - box.height / 2
    if not box.finals:
        fill, edge = "white", MUTED
    elif len(box.finals) > 1:
        fill, edge = SHARED, DARK
    else:
        edge = colour_of(box.finals[0])
        fill = _tint(edge)
    axes.add_patch(
        Rectangle((box.x, low), box.width, box.height, facecolor=fill, edgecolor=edge, linewidth=1.0, zorder=3)
    )
    if len(box.finals) > 1:
        part = box.width / len(box.finals)
        for index, final in enumerate(box.finals):
            axes.add_patch(
                Rectangle((box.x + index * part, low), part, STRIP, facecolor=colour_of(final), linewidth=0, zorder=3.5)
            )
    rise = STRIP / 2 if len(box.finals) > 1 else 0.0
    name, detail = box.text
    for text, offset, size, colour in ((name, 0.075, 7.6, INK), (detail, -0.085, 6.8, MUTED)):
        axes.text(
            box.x + box.width / 2,
            box.y + offset + rise,
            text,
            fontsize=size,
            color=colour,
            ha="center",
            va="center",
            zorder=4,
        )


def _draw_legend(axes: Axes, finals: list[int]) -> None:
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [
        Patch(facecolor=_tint(colour_of(s)), edgecolor=colour_of(s), label=f"branch 1/{s}") for s in finals
    ]
    if len(finals) > 1:
        handles.append(Patch(facecolor=SHARED, edgecolor=DARK, label="shared"))
    if finals[-1] > FINEST:
        handles.append(Line2D([], [], color=DARK, linewidth=0.9, linestyle=(0, (3, 2)), label="to the decoder"))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize=7.5,
        labelcolor=INK,
        borderaxespad=0.5,
        handlelength=1.8,
        columnspacing=1.6,
    )


def _tint(colour: str) -> str:
    """The colour with much white in it."""
    parts = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * TINT):02x}" for part in parts)
