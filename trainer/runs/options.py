"""Options of the command line that are settings of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from latency_db.cli.common import IMAGE_SIZE, Command
from latency_db.keys import ImageSize


def setting(*names: str, to: str, **kwargs: Any) -> Callable[[Command], Command]:
    """An option that is a value of the configuration, ``table.name``; None where it is not given."""
    return click.option(*names, to.replace(".", "__"), default=None, **kwargs)


DATASET = setting("--dataset", to="data.dataset", help="Data set by name.  [default: synthetic]")
FOLDER = setting("--data", to="data.folder", type=click.Path(), help="Its folder.")
SIZE = setting("--size", to="data.size", type=IMAGE_SIZE, help="Bring images to this size first.")
WORKERS = setting("--workers", to="data.workers", type=int, help="Processes that make batches ahead.  [default: 2]")
SEED = setting("--seed", to="run.seed", type=int, help="Of everything that is drawn.  [default: 0]")
PRECISION = setting(
    "--precision", to="run.precision", type=click.Choice(["float32", "bfloat16"]), help="Of the forward pass."
)
THREADS = setting("--threads", to="run.threads", type=int, help="Of torch on the CPU.")
CONFIG_FILE = click.option(
    "--config", "config_file", type=click.Path(dir_okay=False), help="TOML file with settings; options win."
)


def with_options(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    """A command with options, which its help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def settings_as_tables(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``{"latency__device": …}`` as tables, without what is not given."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in options.items():
        if value is None:
            continue
        table, name = key.split("__")
        if isinstance(value, ImageSize):
            # Where it is what a latency is of, it is a text; as a size of images, it is two numbers.
            value = str(value) if table == "latency" else [value.height, value.width]
        tables.setdefault(table, {})[name] = value
    return tables
