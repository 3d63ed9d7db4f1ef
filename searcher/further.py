"""What came of a search later, for its page: networks trained, at work and measured; what predictions are worth."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latency_db.report.rendering import ms, signed
from trainer.runs.fields import Fields
from trainer.runs.files import cannot, read_object
from trainer.training.folder import TrainFolder
from trainer.training.result import TrainingResult, read_result


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its caption; ``source`` is a data URL."""

    caption: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: what it shows, in a sentence.
        header: of its table; none without rows.
        rows: of its table, as texts.
        figures: its pictures.
    """

    title: str
    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[Figure] = field(default=())


def trained(folder: Path) -> Section:
    """What a training, and its teacher's where there is one in it, came to.

    Raises:
        InputError: the training has not ended, or its files are none.
    """
    run = TrainFolder(folder)
    runs = [(name, one) for name, one in (("teacher", TrainFolder(run.teacher)), ("student", run)) if one.path.exists()]
    rows, figures = [], []
    for role, one in runs:
        result = read_result(one.result)
        rows.append([role, result.network, f"{result.miou:.1%}", str(result.epochs), _minutes(result)])
        if one.curves.exists():
            figures.append(figure(one.curves, f"The {role}'s loss and mIoU, epoch by epoch."))
    taught = read_result(run.result)
    return Section(
        title="Trained from scratch",
        text=f"mIoU on {taught.validation_images} validation images of {taught.dataset}. "
        + ("The student learned from the teacher, too (Eq. 4)." if taught.teacher else "Without a teacher."),
        header=("network", "architecture", "mIoU", "epochs", "minutes"),
        rows=rows,
        figures=figures,
    )


def _minutes(result: TrainingResult) -> str:
    return f"{result.seconds / 60:.1f}"


def measured(path: Path) -> Section:
    """A network's latency, measured and predicted, as ``trainer bench --json`` printed it.

    Raises:
        InputError: the file is no such document.
    """
    fields = Fields(read_object(path), str(path))
    predicted, error = fields.optional("predicted_ms", fields.number), fields.optional("error", fields.number)
    return Section(
        title="Measured",
        text="The trained network, exported and timed end to end, beside the sum over its operators, which were "
        "timed in the same shuffled rounds.",
        header=("image", "predicted ms", "measured ms", "off by", "FPS"),
        rows=[
            [
                fields.text("image_size"),
                "–" if predicted is None else ms(predicted),
                ms(fields.number("measured_ms")),
                "–" if error is None else signed(error),
                f"{fields.number('fps'):.1f}",
            ]
        ],
    )


def validated(folder: Path) -> Section:
    """What predictions are worth on the machine, as ``latency-db validate --report`` left it.

    Raises:
        InputError: the folder holds no such report.
    """
    path = folder / "report.json"
    fields = Fields(read_object(path), str(path))
    picture = folder / "validation.png"
    return Section(
        title="What predictions are worth here",
        text=f"{fields.count('networks')} random networks, predicted as a sum over operators and measured end to end.",
        header=("Pearson r", "MAPE", "bias", "within 5%"),
        rows=[
            [
                f"{fields.number('pearson'):.4f}",
                f"{fields.number('mape'):.2%}",
                f"{fields.number('bias'):+.2%}",
                f"{fields.number('within_5'):.0%}",
            ]
        ],
        figures=[figure(picture, "Predicted against measured latency.")] if picture.exists() else [],
    )


def seen(path: Path) -> Section:
    """Images and what networks make of them, as ``trainer grid`` drew them.

    Raises:
        InputError: the file cannot be read.
    """
    return Section(
        title="What they see",
        text="Validation images, their labels, and what each network makes of them.",
        figures=[figure(path, "Image, labels, networks.")],
    )


def figure(path: Path, caption: str) -> Figure:
    """A picture from a PNG file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cannot("read", path, error) from None
    return Figure(caption=caption, source=data_url(content))


def data_url(png: bytes) -> str:
    """A picture as the page holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


KINDS: dict[str, Callable[[Path], Section]] = {
    "trained": trained,
    "seen": seen,
    "measured": measured,
    "validated": validated,
}
"""Sections by the option that asks for them."""
