"""Options of the command line that are settings of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from latency_db.cli.common import Command
from latency_db.keys import ImageSize


def setting(*names: str, to: str, **kwargs: Any) -> Callable[[Command], Command]:
    """An option that is a value of the configuration, ``table.name``; None where it is not given."""
    return click.option(*names, to.replace(".", "__"), default=None, **kwargs)


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
