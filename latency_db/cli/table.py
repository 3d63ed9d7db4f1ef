"""Options of the commands that read one target's table, and how they load it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from latency_db.cli.common import Command, image_option, space_options
from latency_db.keys import ImageSize, OpSpec

if TYPE_CHECKING:
    from latency_db.space import Space
    from latency_db.table import LatencyTable


def table_options(command: Command) -> Command:
    """``--device``, ``--backend``, the space's, ``--image-size``, ``--predict-missing``, ``--extrapolate``."""
    for option in (
        click.option("--extrapolate", is_flag=True, help="Let a model answer outside the range it was fitted on."),
        click.option(
            "--predict-missing",
            is_flag=True,
            help="Fill what is not stored by a model fitted to what is; it is marked.",
        ),
        image_option("1024x2048"),
        space_options,
        click.option("--backend", "backend_name", help="Backend, where the device has several targets."),
        click.option("--device", required=True, help="Device slug, or eight or more digits of a target's key."),
    ):
        command = option(command)
    return command


def load_table(
    ctx: click.Context,
    space: Space,
    *,
    device: str,
    backend_name: str | None,
    image: ImageSize,
    batch: int,
    predict_missing: bool,
    extrapolate: bool,
    specs: Iterable[OpSpec] | None = None,
) -> LatencyTable:
    """The table that the options ask for; raises as :meth:`LatencyTable.load`."""
    from latency_db.cli.common import open_store
    from latency_db.table import LatencyTable

    return LatencyTable.load(
        device=device,
        backend=backend_name,
        space=space,
        image=image,
        batch=batch,
        specs=specs,
        store=open_store(ctx),
        predict_missing=predict_missing,
        extrapolate=extrapolate,
    )
