"""A search over its epochs, as pictures. Matplotlib is loaded only when one is drawn.

Epochs are counted from 1, as a search prints them. Every function gives the bytes of a PNG and raises
``LatencyDbError`` where matplotlib is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latency_db.report.style import INK, new_figure, png, set_title, style_axes
from searcher._picture_parts import (
    BLUE,
    DARK,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    TARGET_DASHES,
    VERMILION,
    WIDTH,
    YELLOW,
    legend_below,
    note,
    say,
    whole_ticks,
)
from searcher.history import ROLES, Branches, EpochRecord, Role
from searcher.tracks import Track, render_collapse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Track", "render_collapse", "render_losses", "render_operators", "render_progress", "render_widths"]

PANEL = 3.0
"""Height of one of a picture's panels, in inches."""
FEW = 40
"""Up to so many values have dots."""
ROLE_COLOURS: Mapping[Role, str] = {"student": BLUE, "teacher": VERMILION}
OPERATOR_COLOURS = {
    "skip": "#c9ced4",
    "conv": SKY,
    "conv_x2": BLUE,
    "zoomed_conv": "#f5c04d",
    "zoomed_conv_x2": VERMILION,
}
"""Kin have kindred hues, the heavier one the darker; what does nothing is grey."""
OTHER_COLOURS = (GREEN, PURPLE, YELLOW, ORANGE, DARK)
WIDTHS_MAP = "cividis_r"
Colour = str | tuple[float, float, float, float]
Value = Callable[[EpochRecord], float | None]
Points = tuple[list[int], list[float]]


def render_progress(records: Sequence[EpochRecord], target_ms: float | None = None) -> bytes:
    """Latency, above, and validation mIoU, below, of the relaxed networks over the epochs.

    Thin lines are of single sets of branches: the latency of the student that would be derived, and the mIoU.

    Args:
        records: the epochs.
        target_ms: latency asked of the student.
    """
    figure = new_figure(WIDTH, 2 * PANEL)
    above, below = figure.subplots(2, 1, sharex=True)
    for role, colour in ROLE_COLOURS.items():
        _line(above, _values(records, _latency(role)), colour, role)
        _line(below, _values(records, _miou(role)), colour)
        for branches in _branch_sets(records):
            _thin(below, _values(records, _miou(role, branches)), colour)
    for index, branches in enumerate(_branch_sets(records)):
        label = "student as derived, per set of branches" if index == 0 else None
        _thin(above, _values(records, _derived_latency(branches)), ROLE_COLOURS["student"], label, dashed=True)
    if target_ms is not None:
        above.axhline(target_ms, color=INK, linestyle=TARGET_DASHES, linewidth=1.1, label=f"target {target_ms:g} ms")
    above.set_ylabel("latency (ms)")
    below.set_ylabel("validation mIoU (%)")
    set_title(above, "Latency and accuracy of the supernet", WIDTH)
    if not any(record.miou for record in records):
        say(below, "no epoch was validated yet")
    _finish_epochs((above, below), records)
    legend_below(figure, above)
    return png(figure)


def render_operators(records: Sequence[EpochRecord]) -> bytes:
    """Share of each operator over the epochs: mean α over the cells, student and teacher."""
    figure = new_figure(WIDTH, 2 * PANEL)
    panels = figure.subplots(2, 1, sharex=True)
    names = list(dict.fromkeys(name for record in records for role in ROLES for name in record.operators[role]))
    others = iter(OTHER_COLOURS * len(names))
    colours: list[Colour] = [OPERATOR_COLOURS.get(name) or next(others) for name in names]
    for axes, role in zip(panels, ROLES, strict=True):
        shares = {name: [record.operators[role].get(name, 0.0) for record in records] for name in names}
        _stack(axes, records, shares, colours)
        set_title(axes, f"Operators of the {role} (mean α)", WIDTH)
    _finish_epochs(panels, records)
    return png(figure)


def render_widths(records: Sequence[EpochRecord]) -> bytes:
    """Share of each expansion ratio χ over the epochs: mean γ of the student over the cells."""
    figure = new_figure(WIDTH, PANEL + 0.2)
    from matplotlib import colormaps

    axes = figure.subplots()
    chis = sorted({chi for record in records for chi in record.widths})
    shade = colormaps[WIDTHS_MAP]
    colours: list[Colour] = [shade(0.08 + 0.84 * index / max(1, len(chis) - 1)) for index in range(len(chis))]
    shares = {f"χ = {chi}": [record.widths.get(chi, 0.0) for record in records] for chi in chis}
    _stack(axes, records, shares, colours)
    set_title(axes, "Widths of the student (mean γ)", WIDTH)
    _finish_epochs((axes,), records)
    return png(figure)


def render_losses(records: Sequence[EpochRecord]) -> bytes:
    """Losses of weights and architecture, above, and λ of Eq. 8, below, over the epochs."""
    figure = new_figure(WIDTH, 2 * PANEL - 0.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
    _line(above, _values(records, lambda one: one.weight_loss), BLUE, "weights")
    _line(above, _values(records, lambda one: one.architecture_loss), VERMILION, "architecture")
    _line(below, _values(records, lambda one: one.lambda_), INK)
    above.set_ylabel("segmentation loss")
    below.set_ylabel("λ (1/ms)")
    set_title(above, "Losses and the weight of latency", WIDTH)
    if all(record.lambda_ is None for record in records):
        say(below, "no epoch searched yet")
    _finish_epochs((above, below), records)
    legend_below(figure, above)
    return png(figure)


def _latency(role: Role) -> Value:
    return lambda record: record.latency_ms[role]


def _derived_latency(branches: Branches) -> Value:
    return lambda record: (record.derived_latency_ms or {}).get(branches)


def _miou(role: Role, branches: Branches | None = None) -> Value:
    """In %: of a set of branches or the mean over them."""

    def value(record: EpochRecord) -> float | None:
        share = record.mean_miou(role) if branches is None else (record.miou or {}).get(role, {}).get(branches)
        return None if share is None else 100 * share

    return value


def _branch_sets(records: Sequence[EpochRecord]) -> list[Branches]:
    sets = {branches for record in records for branches in record.derived_latency_ms or {}}
    return sorted(sets | {branches for record in records for branches in (record.miou or {}).get("student", {})})


def _values(records: Sequence[EpochRecord], value: Value) -> Points:
    """Epochs, from 1, and values, where there is one."""
    pairs = [(record.epoch + 1, found) for record in records if (found := value(record)) is not None]
    return [epoch for epoch, _ in pairs], [found for _, found in pairs]


def _line(axes: Axes, points: Points, colour: str, label: str | None = None) -> None:
    epochs, values = points
    # With dots where they are few: a line of one point is nothing to see.
    marker = "o" if len(values) <= FEW else None
    axes.margins(y=0.14)
    axes.plot(epochs, values, color=colour, linewidth=2, marker=marker, markersize=3.5, label=label, zorder=3)


def _thin(axes: Axes, points: Points, colour: str, label: str | None = None, *, dashed: bool = False) -> None:
    epochs, values = points
    style = (0, (5, 1.5)) if dashed else "solid"
    marker = "." if len(values) == 1 else None
    axes.plot(
        epochs, values, color=colour, linewidth=0.9, alpha=0.45, linestyle=style, marker=marker, label=label, zorder=2
    )


def _stack(
    axes: Axes, records: Sequence[EpochRecord], shares: Mapping[str, list[float]], colours: Sequence[Colour]
) -> None:
    """Shares as a stacked area, named at its right, the topmost first."""
    axes.set(ylim=(0, 100), ylabel="share (%)")
    if not records:
        say(axes, "no epoch yet")
        return
    # Half an epoch more to either side, so that a single epoch is an area, too.
    epochs = [record.epoch + 1 for record in records]
    edges = [epochs[0] - 0.5, *epochs, epochs[-1] + 0.5]
    percents = [[100 * share for share in (values[0], *values, values[-1])] for values in shares.values()]
    axes.stackplot(edges, percents, labels=list(shares), colors=colours, edgecolor="white", linewidth=0.5)
    handles, labels = axes.get_legend_handles_labels()
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}
    legend = axes.legend(handles[::-1], labels[::-1], fontsize=9, labelcolor=INK, **beside)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _finish_epochs(panels: Sequence[Axes], records: Sequence[EpochRecord]) -> None:
    """What panels over epochs share: where pretraining ends, and whole epochs below."""
    last = records[-1].epoch + 1 if records else 1
    pretrained = max((record.epoch + 1 for record in records if record.phase == "pretrain"), default=0)
    for axes in panels:
        style_axes(axes)
        axes.set_xlim(0.5, last + 0.5)
        axes.xaxis.set_major_locator(whole_ticks())
        if pretrained:
            end = pretrained + 0.5
            axes.axvspan(0.5, end, color=INK, alpha=0.055, linewidth=0, zorder=0)
            axes.axvline(end, color=INK, alpha=0.5, linestyle=(0, (1, 2)), linewidth=1.0, zorder=4)
            note(axes, "pretraining", 0.5)
    panels[-1].set_xlabel("epoch")
