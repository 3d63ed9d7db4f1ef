"""Options and output that several commands share."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.errors import InputError, NotFoundError
from latency_db.keys import ImageSize

if TYPE_CHECKING:
    from backends.building import Buildable
    from backends.gpu_clocks import Wanted
    from backends.measure import Plan, Progress
    from backends.protocol import Backend
    from latency_db.building import BuildProgress
    from latency_db.store import Store

Command = Callable[..., Any]
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class ImageSizeType(click.ParamType[ImageSize]):
    """HEIGHTxWIDTH."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ImageSize:
        """Read it."""
        if isinstance(value, ImageSize):
            return value
        try:
            return ImageSize.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType[float]):
    """Seconds, or a number with s, m or h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a duration, as in 90s, 10m or 1h", param, ctx)
        seconds = float(match[1]) * _UNITS[match[2]]
        if seconds <= 0:
            self.fail("the time budget is zero: nothing could be measured", param, ctx)
        return seconds


class ClockType(click.ParamType["Wanted"]):
    """MHz, or the GPU's default applications clock."""

    name = "mhz"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Wanted:
        """Read it."""
        text = str(value)
        if text == "default":
            return "default"
        if not text.isdecimal() or int(text) == 0:
            self.fail(f"{text!r} is not a clock in MHz", param, ctx)
        return int(text)


CLOCK = ClockType()
IMAGE_SIZE = ImageSizeType()
DURATION = DurationType()


def open_store(ctx: click.Context) -> Store:
    """The database that --db names, closed when the command ends."""
    from latency_db.store import Store

    store = Store.open(ctx.find_root().params.get("db"))
    ctx.call_on_close(store.close)
    return store


def require_device(store: Store, device: str | None) -> None:
    """Refuse a device that the database does not know.

    Raises:
        NotFoundError: with the devices that there are.
    """
    if device is not None and not store.targets(device):
        known = ", ".join(row.slug for row in store.devices()) or "none"
        raise NotFoundError(
            f"the database has no device {device!r}; it has: {known}", hint="latency-db profile --device SLUG adds one"
        )


def db_option(command: Command) -> Command:
    """``--db``, which :func:`open_store` looks for at the program itself."""
    return click.option(
        "--db",
        metavar="URL",
        envvar="LATENCY_DB_URL",
        show_envvar=True,
        help="Database: an SQLAlchemy URL or the path of an SQLite file.  "
        "[default: latency.db in the user's data folder]",
    )(command)


def print_or_write(text: str, output: str | None) -> None:
    """A document on standard output, or in the file that ``--output`` names.

    Raises:
        InputError: the file cannot be written.
    """
    if output is None:
        click.echo(text)
        return
    try:
        Path(output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from None


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")(command)


def device_option(command: Command) -> Command:
    """``--device``."""
    return click.option("--device", help="Device slug, as in `latency-db devices`.")(command)


def lock_clocks_option(command: Command) -> Command:
    """``--lock-clocks``."""
    return click.option(
        "--lock-clocks",
        type=CLOCK,
        is_flag=False,
        flag_value="default",
        metavar="[MHZ]",
        help="Hold an NVIDIA GPU's graphics clock here while it is measured, and put it back: another target. "
        "Its default applications clock without a number. Needs root.",
    )(command)


def image_option(default: str) -> Callable[[Command], Command]:
    """``--image-size``."""
    return click.option(
        "--image-size",
        "image",
        type=IMAGE_SIZE,
        default=default,
        show_default=True,
        help="Network input, height x width.",
    )


def backend_options(command: Command) -> Command:
    """``--backend``, ``--threads``, ``--setting``."""
    for option in (
        click.option(
            "--setting", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the backend. Repeatable."
        ),
        click.option("--threads", type=int, help="Shorthand for --setting threads=N.  [default: the backend's, 1]"),
        click.option("--backend", "backend_name", default="ort", show_default=True, help="Backend that measures."),
    ):
        command = option(command)
    return command


def space_options(command: Command) -> Command:
    """``--space``, ``--space-setting``, ``--batch``."""
    for option in (
        click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images at once."),
        click.option(
            "--space-setting",
            "space_settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="A setting of the space, JSON or text. Repeatable.",
        ),
        click.option("--space", "space_name", default="fasterseg", show_default=True, help="Search space."),
    ):
        command = option(command)
    return command


def backend_settings(threads: int | None, settings: tuple[str, ...]) -> dict[str, object]:
    """``--setting`` and ``--threads`` by name.

    Raises:
        InputError: a setting that is not NAME=VALUE.
    """
    chosen: dict[str, object] = {}
    for pair in settings:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise InputError(f"--setting {pair!r} is not NAME=VALUE")
        chosen[key] = value
    if threads is not None:
        chosen["threads"] = threads
    return chosen


def make_backend(name: str, threads: int | None, settings: tuple[str, ...]) -> Backend:
    """The backend with its settings.

    Raises:
        InputError: a setting that is not NAME=VALUE.
        BackendError: no such backend, its runtime is missing, or it refuses a setting.
    """
    from backends import registry

    return registry.create(name, **backend_settings(threads, settings))


def make_builder(name: str, threads: int | None, settings: tuple[str, ...]) -> Buildable:
    """The backend with its settings, to build for devices that are not here.

    Raises:
        InputError: a setting that is not NAME=VALUE.
        BackendError: as for :func:`make_backend`; or it has no build-only mode.
    """
    from backends import registry

    return registry.create_builder(name, **backend_settings(threads, settings))


def make_plan(rel_ci: float, time_budget_s: float) -> Plan:
    """When the timing loop stops.

    Raises:
        InputError: figures that make no plan.
    """
    from backends.measure import Plan

    try:
        return Plan(rel_ci=rel_ci, time_budget_s=time_budget_s)
    except ValueError as error:
        raise InputError(str(error)) from None


def print_json(document: object) -> None:
    """One document on standard output."""
    click.echo(json.dumps(document, indent=2, sort_keys=False, ensure_ascii=False, allow_nan=False))


def warn_of_flagged(flagged: int, of: int, what: str) -> None:
    """On standard error, that latencies rest on visits that nobody should trust; nothing where none does."""
    if flagged:
        click.echo(
            f"Warning: {flagged} of {of} {what} had fewer than two clean visits: their latencies rest on throttled or "
            "contended ones",
            err=True,
        )


def print_table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they need to be."""
    widths = [max(len(row[index]) for row in [headers, *rows]) for index in range(len(headers))]
    for row in [headers, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class ProgressLine:
    """Progress on standard error: one line that rewrites itself on a terminal, one line every so often elsewhere."""

    def __init__(self, interval_s: float | None = None) -> None:
        self.terminal = sys.stderr.isatty()
        self.interval_s = interval_s if interval_s is not None else (0.2 if self.terminal else 15.0)
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Print where the loop is."""
        failed = f", {progress.failed} failed" if progress.failed else ""
        text = (
            f"round {progress.round + 1}: {progress.visit}/{progress.visits} visited, "
            f"{progress.done}/{progress.jobs} known well enough{failed}, "
            f"{_clock(progress.elapsed_s)} gone, at most {_clock(progress.left_s)} left"
        )
        self.show(text)

    def building(self, progress: BuildProgress) -> None:
        """Print how much is built."""
        kept = f", {progress.kept} of them were there" if progress.kept else ""
        failed = f", {progress.failed} failed" if progress.failed else ""
        self.show(f"{progress.done}/{progress.workloads} built{kept}{failed}, {_clock(progress.elapsed_s)} gone")

    def show(self, text: str) -> None:
        """Print a line, unless the last one is too fresh."""
        if time.monotonic() - self.last < self.interval_s:
            return
        self.last = time.monotonic()
        click.echo(f"\r\x1b[K{text}" if self.terminal else text, nl=not self.terminal, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self.terminal:
            click.echo(err=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
