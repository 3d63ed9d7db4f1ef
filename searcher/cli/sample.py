"""``searcher sample``."""

from __future__ import annotations

import json
import random

import click

from latency_db.cli.common import print_or_write


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw.")
@click.option(
    "--space-setting", "space_settings", multiple=True, metavar="NAME=VALUE", help="A setting of the space. Repeatable."
)
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="File to write.  [default: standard output]")
def sample(seed: int, space_settings: tuple[str, ...], output: str | None) -> None:
    """Draw a random architecture: every choice uniform and independent."""
    from latency_db import spaces

    space = spaces.create("fasterseg", **spaces.parse_settings(space_settings))
    text = json.dumps(space.to_json(space.sample(random.Random(seed))), indent=2)
    print_or_write(text, output)
