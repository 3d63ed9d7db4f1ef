"""What several networks see in the same images, side by side: Figure 7 of FasterSeg's paper.

Matplotlib is loaded only when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from latency_db.errors import InputError
from latency_db.report.style import DPI, INK, MUTED, new_figure, png
from trainer.data.dataset import SegmentationDataset
from trainer.evaluate import require_classes
from trainer.grid_images import image_names
from trainer.overlay import colour_table
from trainer.palette import VOID, Colour
from trainer.predictor import Classes, Predictor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 3.2
"""Width of an image in the picture, in inches."""
NAMES, LEGEND_ROW, HEADING = 0.3, 0.24, 0.4
"""Width of the images' names, heights of a row of the legend and of the headings, in inches."""
CHARACTERS_PER_INCH = 11
LARGEST = 2**16 - 1
"""Pixels to a side that the picture may have."""


@dataclass(frozen=True)
class Row:
    """An image, and what is seen in it.

    Attributes:
        name: what it is called.
        image: mode RGB, (H, W).
        label: (H, W), 255 where there is no class.
        seen: by each network, (H, W).
    """

    name: str
    image: Image.Image
    label: Classes
    seen: tuple[Classes, ...]


def look_at(
    predictors: Sequence[Predictor],
    dataset: SegmentationDataset,
    indices: Sequence[int],
    on_images: Callable[[int], None] | None = None,
) -> list[Row]:
    """What networks see in images of a data set, at the images' own resolution.

    Args:
        predictors: one per network.
        dataset: at its own size.
        indices: which images.
        on_images: is told how many images are done, after each.

    Raises:
        InputError: the data set's classes are not a network's, or a network gives no logits.
        DataError: an image or a label cannot be read.
    """
    for predictor in predictors:
        require_classes(predictor.trained, dataset)
    names = image_names(dataset)
    rows = []
    for done, index in enumerate(indices, start=1):
        sample = dataset.source.read(index if dataset.indices is None else dataset.indices[index])
        seen = tuple(predictor(sample.image, names[index]) for predictor in predictors)
        rows.append(Row(names[index], sample.image, np.asarray(sample.label), seen))
        if on_images is not None:
            on_images(done)
    return rows


def render_grid(rows: Sequence[Row], titles: Sequence[str], classes: Sequence[str], colours: Sequence[Colour]) -> bytes:
    """A PNG: one row per image with the image, the ground truth and what each network sees, and a legend of colours.

    Args:
        rows: at least one, each with as many networks as there are titles.
        titles: of the networks.
        classes: their names.
        colours: of the classes.

    Raises:
        LatencyDbError: matplotlib is not installed.
        InputError: the picture would be too large.
    """
    columns = 2 + len(titles)
    width = NAMES + columns * PANEL
    heights = [PANEL * row.image.height / row.image.width for row in rows]
    entries = [*zip(classes, colours, strict=True), ("no class", VOID)]
    per_row = max(1, int(width * CHARACTERS_PER_INCH) // (6 + max(len(name) for name, _ in entries)))
    height = sum(heights) + HEADING + LEGEND_ROW * (1 + -(-len(entries) // per_row))
    if max(width, height) * DPI > LARGEST:
        raise InputError(f"{len(rows)} images by {columns} columns are too large for one picture: show fewer")
    figure = new_figure(width, height)
    panels = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    table = colour_table(colours)
    for axes, title in zip(panels[0], ("image", "ground truth", *titles), strict=True):
        axes.set_title(
            fill(title, int(PANEL * CHARACTERS_PER_INCH)), fontsize=10, fontweight="bold", color=INK, parse_math=False
        )
    for line, row, high in zip(panels, rows, heights, strict=True):
        # What is no class, 255, is beyond the classes' colours in the table.
        pictures = [np.asarray(row.image), *(table[classes_of] for classes_of in (row.label, *row.seen))]
        for axes, picture in zip(line, pictures, strict=True):
            _show(axes, picture)
        line[0].set_ylabel(
            fill(row.name, max(8, int(high * CHARACTERS_PER_INCH))), fontsize=8, color=MUTED, parse_math=False
        )
    _legend(figure, entries, per_row)
    return png(figure)


def _show(axes: Axes, picture: npt.NDArray[np.uint8]) -> None:
    pixels = round(PANEL * DPI)
    shown = Image.fromarray(picture)
    if shown.width > pixels:
        shown = shown.resize((pixels, round(shown.height * pixels / shown.width)), Image.Resampling.BOX)
    axes.imshow(np.asarray(shown))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(figure: Figure, entries: Sequence[tuple[str, Colour]], per_row: int) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=(red / 255, green / 255, blue / 255), edgecolor=MUTED, linewidth=0.4)
        for _, (red, green, blue) in entries
    ]
    legend = figure.legend(
        handles,
        [name for name, _ in entries],
        loc="outside lower center",
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        ncols=min(per_row, len(entries)),
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
