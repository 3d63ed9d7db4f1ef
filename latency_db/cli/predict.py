"""``latency-db predict``."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.architecture import read_architecture
from latency_db.cli.common import json_option, print_json, print_table
from latency_db.cli.table import load_table, table_options
from latency_db.keys import ImageSize, OpSpec

if TYPE_CHECKING:
    from latency_db.predict import Prediction
    from latency_db.table import LatencyTable


@click.command()
@click.argument("architecture", metavar="ARCH")
@table_options
@click.option("--breakdown", is_flag=True, help="List every operator with its share.")
@json_option
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    architecture: str,
    space_name: str,
    space_settings: tuple[str, ...],
    batch: int,
    image: ImageSize,
    breakdown: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the latency of a network on a device.

    ARCH is the JSON file of an architecture, or the name of one that the space has built in (fasterseg-student).
    """
    from latency_db import spaces

    space = spaces.create(space_name, **spaces.parse_settings(space_settings))
    decomposition = space.decompose(read_architecture(architecture, space.builtin(), space.from_json), image, batch)
    table = load_table(ctx, space, image=image, batch=batch, specs=decomposition.specs, **options)
    prediction = table.predict(decomposition)
    if as_json:
        print_json(_document(architecture, table, prediction, breakdown))
    else:
        _print(architecture, table, prediction, breakdown)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _document(architecture: str, table: LatencyTable, prediction: Prediction, breakdown: bool) -> dict[str, Any]:
    provenances = Counter(table.provenance[table.position(part.spec)] for part in prediction.parts)
    document: dict[str, Any] = {
        "architecture": architecture,
        "device": table.device,
        "target": table.target,
        "image_size": str(table.image),
        "batch": table.batch,
        "latency_ms": prediction.latency_ms,
        "fps": 1e3 * table.batch / prediction.latency_ms,
        "rel_ci": _number(prediction.rel_ci),
        "operators_ms": prediction.latency_ms - prediction.pairs_ms,
        "pairs_ms": prediction.pairs_ms,
        "calibration": table.calibration.method,
        "provenance": dict(provenances),
        "flagged": sum(part.spec in table.flagged for part in prediction.parts),
    }
    if breakdown:
        document["operators"] = [
            {
                "operator": part.spec.name,
                "op": part.spec.op,
                "s": part.spec.s,
                "c_in": part.spec.c_in,
                "c_out": part.spec.c_out,
                "stride": part.spec.stride,
                "latency_ms": part.latency_ms,
                "share": part.latency_ms / prediction.latency_ms,
                "rel_ci": _number(part.rel_ci),
                "provenance": table.provenance[table.position(part.spec)],
                "flagged": part.spec in table.flagged,
            }
            for part in prediction.parts
        ]
    return document


def _print(architecture: str, table: LatencyTable, prediction: Prediction, breakdown: bool) -> None:
    if breakdown:
        print_table(
            ("operator", "latency_ms", "share", "±95%", "provenance"),
            [
                (
                    part.spec.name,
                    f"{part.latency_ms:.4f}",
                    f"{part.latency_ms / prediction.latency_ms:.1%}",
                    _interval(part.rel_ci),
                    _provenance(table, part.spec),
                )
                for part in prediction.parts
            ],
        )
        if prediction.pairs_ms:
            click.echo(f"adjacent pairs: {prediction.pairs_ms:+.4f} ms")
        click.echo()
    fps = 1e3 * table.batch / prediction.latency_ms
    click.echo(f"{architecture} at {table.image} on {table.target}")
    click.echo(_calibration(table))
    click.echo(f"{prediction.latency_ms:.4f} ms ({fps:.1f} FPS), {_interval(prediction.rel_ci, 'of its operators')}")


def _provenance(table: LatencyTable, spec: OpSpec) -> str:
    known = table.provenance[table.position(spec)]
    return f"{known}, flagged" if spec in table.flagged else known


def _calibration(table: LatencyTable) -> str:
    calibration = table.calibration
    if not calibration.networks:
        return "no calibration for this space at this size: the plain sum of the operators"
    return f"calibration: {calibration.method}, learnt on {calibration.networks} networks"


def _interval(rel_ci: float, what: str = "") -> str:
    if not math.isfinite(rel_ci):
        return "uncertainty unknown" if what else "-"
    return f"±{rel_ci:.1%} {what}".rstrip()
