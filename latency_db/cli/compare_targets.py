"""``latency-db compare-targets``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import IMAGE_SIZE, json_option, open_store, print_json, print_table, warn_of_flagged
from latency_db.errors import AmbiguousTargetError, InputError
from latency_db.keys import ImageSize, OpSpec

if TYPE_CHECKING:
    from latency_db.compare_targets import Comparison, Pair
    from latency_db.rows import LatencyRow, TargetRow
    from latency_db.store import Store


@click.command("compare-targets")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--space", "space_name", help="Only operators of this search space.  [default: all that are stored]")
@click.option(
    "--space-setting",
    "space_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of that space, JSON or text. Repeatable.",
)
@click.option("--image-size", "image", type=IMAGE_SIZE, help="Only this image size.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="List so many operators whose ratio is farthest from the overall one.",
)
@json_option
@click.pass_context
def compare_targets(
    ctx: click.Context,
    a: str,
    b: str,
    space_name: str | None,
    space_settings: tuple[str, ...],
    image: ImageSize | None,
    top: int,
    as_json: bool,
) -> None:
    """Compare the operator latencies of two targets: two devices, or two runtimes or settings on one.

    A and B are each a device (cpu-epyc-7b13-2c), a device and a backend (cpu-epyc-7b13-2c:openvino), or eight or more
    digits of a target's key. A ratio is B's latency over A's: below 1, B is the faster one.
    """
    from latency_db.compare_targets import compare

    if space_settings and space_name is None:
        raise InputError("--space-setting goes with --space")
    store = open_store(ctx)
    target_a, target_b = _resolved(store, a), _resolved(store, b)
    if target_a.id == target_b.id:
        raise InputError(f"{a} and {b} are the same target: {target_a.line}")
    rows_a, rows_b = (store.query(device=row.target.key, image=image) for row in (target_a, target_b))
    if space_name is not None:
        wanted = _specs(space_name, space_settings, (row.spec for row in (*rows_a, *rows_b)))
        rows_a, rows_b = ([row for row in rows if row.spec in wanted] for rows in (rows_a, rows_b))
    rows = [*rows_a, *rows_b]
    warn_of_flagged(sum(row.flagged for row in rows), len(rows), "latencies")
    found = compare(rows_a, rows_b)
    if as_json:
        print_json(_document(target_a, target_b, found, top))
    else:
        _print(target_a, target_b, found, top)


def _resolved(store: Store, name: str) -> TargetRow:
    """The target that a device, DEVICE:BACKEND or a key names.

    Raises:
        NotFoundError: none. AmbiguousTargetError: several.
    """
    device, colon, backend = name.rpartition(":")
    try:
        if not colon or store.targets(name):  # A device's own name may have a colon in it.
            return store.resolve_target(name)
        return store.resolve_target(device, backend)
    except AmbiguousTargetError as error:
        hint = "name one as DEVICE:BACKEND, or by the first digits of its key, as they stand before the colon"
        raise AmbiguousTargetError(error.message, hint) from None


def _specs(space_name: str, space_settings: tuple[str, ...], stored: Iterable[OpSpec]) -> set[OpSpec]:
    """The space's operators, at the sizes that are stored."""
    from latency_db import spaces

    space = spaces.create(space_name, **spaces.parse_settings(space_settings))
    sizes = {(spec.image, spec.batch) for spec in stored}
    return {spec for image, batch in sizes for spec in space.specs(image, batch)}


def _provenances(rows: Iterable[LatencyRow]) -> dict[str, int]:
    return dict(sorted(Counter(row.provenance for row in rows).items()))


def _document(a: TargetRow, b: TargetRow, found: Comparison, top: int) -> dict[str, Any]:
    correlation = found.log_correlations
    sides = ((a, [pair.a for pair in found.pairs], found.only_a), (b, [pair.b for pair in found.pairs], found.only_b))
    described = [
        {
            "key": row.target.key,
            "device": row.target.device,
            "backend": row.target.backend,
            "runtime_version": row.target.runtime_version,
            "precision": row.target.precision,
            "settings": dict(row.target.settings),
            "only": len(only),
            "flagged": sum(row.flagged for row in rows),
            "provenance": _provenances(rows),
        }
        for row, rows, only in sides
    ]
    return {
        "a": described[0],
        "b": described[1],
        "operators": len(found.pairs),
        "ratio": found.ratio,
        "pearson_log": None if correlation is None else correlation.pearson,
        "spearman_log": None if correlation is None else correlation.spearman,
        "ops": [
            {"op": kind.op, "operators": kind.operators, "ratio": kind.ratio, "against_all": kind.against_all}
            for kind in found.kinds
        ],
        "farthest": [
            {
                "operator": pair.spec.name,
                "op": pair.spec.op,
                "a_ms": pair.a.latency_ms,
                "b_ms": pair.b.latency_ms,
                "ratio": pair.ratio,
                "ratio_95": None if pair.interval is None else list(pair.interval),
                "against_all": pair.ratio / found.ratio,
                "flagged": [pair.a.flagged, pair.b.flagged],
                "provenance": [pair.a.provenance, pair.b.provenance],
            }
            for pair in found.farthest(top)
        ],
    }


def _print(a: TargetRow, b: TargetRow, found: Comparison, top: int) -> None:
    click.echo(f"A  {a.line}")
    click.echo(f"B  {b.line}")
    click.echo(f"{len(found.pairs)} operators on both, {len(found.only_a)} on A alone, {len(found.only_b)} on B alone")
    for name, rows in (("A", [pair.a for pair in found.pairs]), ("B", [pair.b for pair in found.pairs])):
        counts = _provenances(rows)
        if set(counts) != {"measured"}:
            click.echo(f"of {name}'s latencies: " + ", ".join(f"{count} {how}" for how, count in counts.items()))
    click.echo(f"B / A: {found.ratio:.3f} (geometric mean)")
    correlation = found.log_correlations
    if correlation is None:
        click.echo("no correlation: fewer than three operators, or latencies that are all the same")
    else:
        click.echo(f"log latencies: Pearson {correlation.pearson:.4f}, Spearman {correlation.spearman:.4f}")
    click.echo()
    print_table(
        ("op", "operators", "B / A", "against all"),
        [(kind.op, str(kind.operators), f"{kind.ratio:.3f}", _change(kind.against_all)) for kind in found.kinds],
    )
    farthest = found.farthest(top)
    if farthest:
        click.echo()
        print_table(
            ("farthest from that", "A (ms)", "B (ms)", "B / A", "95% interval", "against all"),
            [_row(pair, found.ratio) for pair in farthest],
        )


def _row(pair: Pair, overall: float) -> tuple[str, ...]:
    interval = pair.interval
    return (
        pair.spec.name,
        f"{pair.a.latency_ms:.4f}",
        f"{pair.b.latency_ms:.4f}",
        f"{pair.ratio:.3f}",
        "-" if interval is None or not math.isfinite(interval[1]) else f"{interval[0]:.3f} to {interval[1]:.3f}",
        _change(pair.ratio / overall),
    )


def _change(factor: float) -> str:
    return f"{factor - 1:+.1%}"
