"""``latency-db sensitivity``."""

from __future__ import annotations

from typing import Any

import click

from latency_db.cli.common import json_option, print_json, print_table
from latency_db.cli.table import load_table, table_options
from latency_db.keys import ImageSize


@click.command()
@table_options
@json_option
@click.pass_context
def sensitivity(
    ctx: click.Context,
    /,
    space_name: str,
    space_settings: tuple[str, ...],
    image: ImageSize,
    as_json: bool,
    **options: Any,
) -> None:
    """Say how much operators, downsampling and widths can each change the latency (Table 2 of the paper).

    One axis goes from one extreme to the other, the other two are uniform. The weights w1, w2, w3 of Eq. 3 balance the
    three on this device.
    """
    from latency_db import spaces
    from latency_db.relaxed import sensitivity as measure

    space = spaces.create(space_name, **spaces.parse_settings(space_settings))
    table = load_table(ctx, space, image=image, **options)
    found = measure(table)
    w1, w2, w3 = found.weights if found.can_be_balanced else (None, None, None)
    if as_json:
        print_json(
            {
                "device": table.device,
                "target": table.target,
                "image_size": str(image),
                "delta_operator_ms": found.delta_operator_ms,
                "delta_downsample_ms": found.delta_downsample_ms,
                "delta_expansion_ms": found.delta_expansion_ms,
                "w1": w1,
                "w2": w2,
                "w3": w3,
                "slowest_operator": found.slowest_operator,
                "fastest_operator": found.fastest_operator,
                "uniform_ms": found.uniform_ms,
            }
        )
        return
    print_table(
        ("granularity", "ΔLatency (ms)", "balanced weight"),
        [
            ("O (operator)", f"{found.delta_operator_ms:.3f}", _weight("w1", w1)),
            ("s (downsample rate)", f"{found.delta_downsample_ms:.3f}", _weight("w2", w2)),
            ("χ (expansion ratio)", f"{found.delta_expansion_ms:.3f}", _weight("w3", w3)),
        ],
    )
    click.echo(f"{found.slowest_operator} against {found.fastest_operator}; all uniform: {found.uniform_ms:.3f} ms")


def _weight(name: str, weight: float | None) -> str:
    return "none: an axis changes nothing" if weight is None else f"{name} = {weight:.4f}"
