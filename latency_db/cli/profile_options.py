"""The options that say what a profile measures: of ``latency-db profile``, and of ``submit`` for another machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from latency_db.cli.common import (
    DURATION,
    Command,
    backend_options,
    backend_settings,
    device_option,
    image_option,
    lock_clocks_option,
    make_plan,
    space_options,
)
from latency_db.keys import ImageSize

if TYPE_CHECKING:
    from backends.gpu_clocks import Wanted
    from latency_db.request import ProfileRequest


def profile_options(device: Callable[[Command], Command] = device_option) -> Callable[[Command], Command]:
    """All of them, with ``--device`` as the caller has it; :func:`profile_request` takes what they give."""
    options = (
        backend_options,
        device,
        space_options,
        image_option("1024x2048"),
        lock_clocks_option,
        click.option(
            "--rel-ci", type=float, default=0.01, show_default=True, help="Half-width of the 95% interval to reach."
        ),
        click.option("--time-budget", type=DURATION, default="10m", show_default=True, help="Stop after this long."),
        click.option(
            "--only",
            multiple=True,
            metavar="FIELD=VALUE,…",
            help="Only operators like this: op=conv_x2,s=8. Repeatable.",
        ),
        click.option("--remeasure", is_flag=True, help="Begin a new series instead of going on with what is there."),
        click.option(
            "--calibration-networks",
            type=click.IntRange(min=0),
            default=24,
            show_default=True,
            help="Random networks to measure and calibrate with; 0 for none.",
        ),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order within rounds."),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def profile_request(
    *,
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    device: str | None,
    space_name: str,
    space_settings: tuple[str, ...],
    batch: int,
    image: ImageSize,
    rel_ci: float,
    time_budget: float,
    only: tuple[str, ...],
    remeasure: bool,
    calibration_networks: int,
    seed: int,
    lock_clocks: Wanted | None,
) -> ProfileRequest:
    """The request that the options make.

    Raises:
        InputError: figures that make no plan, or a setting that is not NAME=VALUE.
    """
    from latency_db import spaces
    from latency_db.request import ProfileRequest

    plan = make_plan(rel_ci, time_budget)
    return ProfileRequest(
        backend=backend_name,
        settings=backend_settings(threads, settings),
        device=device,
        space=space_name,
        space_settings=spaces.parse_settings(space_settings),
        batch=batch,
        image=str(image),
        rel_ci=plan.rel_ci,
        time_budget_s=plan.time_budget_s,
        only=only,
        remeasure=remeasure,
        calibration_networks=calibration_networks,
        seed=seed,
        lock_clocks=lock_clocks,
    )
