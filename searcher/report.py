"""The page of a search: what was searched, what it found and how it came there, in one HTML file and its pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from latency_db.errors import LatencyDbError
from latency_db.report.rendering import environment, ms, signed
from searcher import pictures
from searcher.drawing import draw_architecture
from searcher.further import Section, data_url
from searcher.history import ROLES, Role
from searcher.past_run import PastRun, read_run
from searcher.predict_command import predict_command
from searcher.result import Branches, Derived, SearchResult
from trainer.runs.files import write_whole

REPORT = "report.html"
TEMPLATE = "report.html.j2"
PICTURES: Mapping[str, tuple[str, Callable[[PastRun], bytes]]] = {
    "collapse.png": (
        "The student's mIoU over its expected latency, epoch by epoch. A search that collapses runs to the lower left.",
        lambda run: pictures.render_collapse([run.track()]),
    ),
    "progress.png": (
        "Expected latency and mIoU of the supernet. Thin lines are of single sets of branches.",
        lambda run: pictures.render_progress(run.epochs, run.target_ms),
    ),
    "operators.png": (
        "What cells choose: the share of each operator.",
        lambda run: pictures.render_operators(run.epochs),
    ),
    "widths.png": (
        "How wide the student's cells are: the share of each expansion ratio.",
        lambda run: pictures.render_widths(run.epochs),
    ),
    "losses.png": (
        "Losses on which weights and architecture learned, and λ of Eq. 8.",
        lambda run: pictures.render_losses(run.epochs),
    ),
}
"""File → what it shows, how it is drawn."""


class _State(NamedTuple):
    """The line at the top: one word, what it means, and its colour (a class of the page's styles)."""

    word: str
    text: str
    kind: str


class _Card(NamedTuple):
    label: str
    value: str
    note: str = ""
    state: str = ""


@dataclass(frozen=True)
class _Picture:
    file: str
    caption: str
    source: str
    """A data URL."""


def write_report(
    folder: Path, *, status: str | None = None, further: Sequence[Section] = (), page: Path | None = None
) -> Path:
    """Write the pictures and the page of a search into its folder, at any time of the search.

    Without matplotlib the page has no pictures and says so.

    Args:
        folder: of the search.
        status: how a search that is not finished stands, as in ``interrupted``; unknown where it is not said.
        further: what came of it later.
        page: where the page goes; into the folder by default.

    Returns:
        The page's path.

    Raises:
        InputError: the folder is of no search, a file of it cannot be read, or none can be written.
    """
    run = read_run(folder)
    drawn, missing = _drawn(run)
    for picture, content in drawn:
        write_whole(folder / picture.file, content)
    page = folder / REPORT if page is None else page
    shown = [picture for picture, _ in drawn]
    write_whole(page, render_page(run, shown, missing=missing, status=status, further=further).encode())
    return page


def render_page(
    run: PastRun,
    shown: list[_Picture],
    *,
    missing: str | None = None,
    status: str | None = None,
    further: Sequence[Section] = (),
) -> str:
    """The page. Every text in it is escaped.

    Args:
        run: the search.
        shown: its pictures.
        missing: why it has no pictures.
        status, further: as for :func:`write_report`.
    """
    result = run.result
    by_file = {picture.file: picture for picture in shown}
    return (
        environment("searcher")
        .get_template(TEMPLATE)
        .render(
            title=f"Search for {run.device}: {run.label}",
            created_at=time.strftime("%Y-%m-%d %H:%M %Z"),
            run=run,
            result=result,
            state=_state(run, status),
            cards=_cards(run),
            networks=[] if result is None else [(role, derived_of(result, role)) for role in ROLES],
            hit=None if result is None else _hit(result),
            drawings={role: by_file.get(f"{role}.png") for role in ROLES},
            pictures=[by_file[file] for file in PICTURES if file in by_file],
            missing=missing,
            further=further,
            searched=_searched(run),
            last=_last_epoch(run),
            config=run.config.to_toml(),
            ends=ends,
            duration=duration,
        )
    )


def derived_of(result: SearchResult, role: Role) -> Derived:
    """One of the two networks."""
    return result.student if role == "student" else result.teacher


def ends(branches: Branches) -> str:
    """``1/16 and 1/32``."""
    return " and ".join(f"1/{s}" for s in branches)


def duration(seconds: float) -> str:
    """``1 h 30 min``, ``2 min``, ``12 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _drawn(run: PastRun) -> tuple[list[tuple[_Picture, bytes]], str | None]:
    """The pictures with their bytes; or why there are none."""
    found: list[tuple[_Picture, bytes]] = []
    try:
        for file, (caption, draw) in PICTURES.items():
            content = draw(run)
            found.append((_Picture(file, caption, data_url(content)), content))
        for role, content in _drawings(run).items():
            found.append((_Picture(f"{role}.png", f"The {role}'s cells.", data_url(content)), content))
    except LatencyDbError as error:
        if "matplotlib" not in error.message:
            raise
        return [], str(error)
    return found, None


def _drawings(run: PastRun) -> dict[Role, bytes]:
    if run.result is None:
        return {}
    return {role: draw_architecture(run.architecture(derived_of(run.result, role).file)) for role in ROLES}


def _state(run: PastRun, status: str | None) -> _State:
    total, done = run.config.schedule.epochs, len(run.epochs)
    if run.result is None or not run.finished:
        word = status or "not finished"
        text = f"{done} of {total} epochs are done"
        if run.result is not None:
            text += "; networks were derived on the way"
        return _State(word, f"{text}; `searcher run --resume --out {run.folder.path}` goes on", "inconclusive")
    hit = _hit(run.result)
    if hit is None:
        return _State("completed", "no latency was asked of the student", "passed")
    return _State("target hit" if hit else "target missed", _against_target(run.result), "passed" if hit else "missed")


def _hit(result: SearchResult) -> bool | None:
    """Whether the student's latency is within the tolerance; None where none was asked for."""
    if result.target_ms is None:
        return None
    # A hair more than the tolerance: its bounds are rounded, and so is what was found between them.
    return abs(result.student.latency_ms / result.target_ms - 1) <= result.tolerance * (1 + 1e-9)


def _against_target(result: SearchResult) -> str:
    student, target_ms = result.student, result.target_ms
    assert target_ms is not None
    off = signed(student.latency_ms / target_ms - 1)
    text = f"the student takes {ms(student.latency_ms)} ms, {off} from the target of {target_ms:g} ms"
    text += f" (tolerance ±{result.tolerance:.0%})"
    if student.how == "argmax":
        return f"{text}, with the most likely choice of every cell"
    most_likely = f"the most likely choices take {ms(student.argmax_latency_ms)} ms"
    return f"{text}: {most_likely}, so it is the most probable network found within the band"


def _cards(run: PastRun) -> list[_Card]:
    total = run.config.schedule.epochs
    cards = [_Card("Epochs", f"{len(run.epochs)} of {total}"), _Card("Time", duration(run.seconds))]
    result = run.result
    if result is None:
        latest = next((record for record in reversed(run.epochs) if record.miou is not None), None)
        if latest is not None:
            note = f"supernet, after epoch {latest.epoch + 1}"
            cards.insert(0, _Card("Student", f"{ms(latest.latency_ms['student'])} ms", f"expected, {note}"))
            cards.insert(1, _Card("Student's mIoU", _share(latest.mean_miou("student")), note))
        return cards
    hit = _hit(result)
    state = "" if hit is None else "passed" if hit else "missed"
    note = "predicted" if result.target_ms is None else f"predicted; target {result.target_ms:g} ms"
    return [
        _Card("Student", f"{ms(result.student.latency_ms)} ms", note, state),
        _Card("Student's mIoU", _share(result.student.miou), "as derived, with the supernet's weights"),
        _Card("Teacher", f"{ms(result.teacher.latency_ms)} ms", "predicted"),
        _Card("Teacher's mIoU", _share(result.teacher.miou), "as derived, with the supernet's weights"),
        *cards,
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _searched(run: PastRun) -> dict[str, str]:
    config, result = run.config, run.result
    latency, data = config.latency, config.data
    classes = result.dataset.classes if result else run.about.classes if run.about else ()
    target_ms = "none" if latency.target_ms is None else f"{latency.target_ms:g} ms ± {latency.tolerance:.0%}"
    counted = f"T = {latency.target_ms or latency.objective_target_ms:g} ms, w = {latency.exponent:g}"
    again = {"The student's latency again": predict_command(config, len(classes), run.folder.student)} if result else {}
    return {
        "Device": run.device,
        "Latencies of": result.target if result else (latency.backend or "the device's only or best target"),
        "Image": f"{latency.image_size} (height x width), {latency.batch} at once",
        "Target latency": target_ms,
        "Weights w₁, w₂, w₃ (Eq. 3)": run.weights,
        "Choice of branches (Eq. 5)": counted,
        "Data": f"{data.dataset}, split {data.split}" + (f", in {data.folder}" if data.folder else ""),
        "Classes": f"{len(classes)}: {', '.join(classes)}" if classes else "–",
        "Seed": str(config.run.seed),
        "Epochs": f"{config.schedule.pretrain_epochs} of pretraining, {config.schedule.search_epochs} of searching",
        "Began": f"{run.about.started_at:%Y-%m-%d %H:%M %Z}" if run.about else "–",
        "Folder": str(run.folder.path.resolve()),
        **again,
    }


def _last_epoch(run: PastRun) -> dict[str, str]:
    if not run.epochs:
        return {}
    record = run.epochs[-1]
    found = {
        "Epoch": f"{record.epoch + 1} ({record.phase}), {duration(record.seconds)}",
        "Loss of the weights": f"{record.weight_loss:.4f}",
        "Learning rate": f"{record.learning_rate:.4g}",
        "Downsampling, mean β⁰": ", ".join(f"{role} {record.downsample[role]:.1%}" for role in ROLES),
    }
    if record.architecture_loss is not None:
        found["Loss of the architecture"] = f"{record.architecture_loss:.4f}"
    if record.lambda_ is not None:
        found["λ (Eq. 8)"] = f"{record.lambda_:.4g} per ms"
    return found
