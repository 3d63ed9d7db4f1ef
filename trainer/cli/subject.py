"""How commands are told of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def subject_argument(command: Command) -> Command:
    """``NETWORK``, ``--classes`` and ``--network``: what :func:`trainer.subject.find_subject` takes."""
    for decorate in (
        click.option(
            "--network",
            metavar="PKG.MOD:FACTORY",
            help="What makes the module, where NETWORK is a trained module of your own.",
        ),
        click.option(
            "--classes",
            type=click.IntRange(min=1),
            help="Classes of an untrained network.  [default: the architecture's own, else 19]",
        ),
        click.argument("named", metavar="NETWORK"),
    ):
        command = decorate(command)
    return command
