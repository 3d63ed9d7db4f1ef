"""``latency-db query``."""

from __future__ import annotations

import click

from latency_db.cli.common import (
    IMAGE_SIZE,
    device_option,
    json_option,
    open_store,
    print_json,
    print_table,
    require_device,
    warn_of_flagged,
)
from latency_db.keys import ImageSize


@click.command()
@device_option
@click.option("--backend", "backend_name", help="Only this backend.")
@click.option("--op", help="Only this operator.")
@click.option("--s", type=int, help="Only this downsample rate.")
@click.option("--chi-in", type=int, help="Only this expansion ratio of the input.")
@click.option("--chi-out", type=int, help="Only this expansion ratio of the output.")
@click.option("--c-in", type=int, help="Only this many channels in.")
@click.option("--c-out", type=int, help="Only this many channels out.")
@click.option("--stride", type=int, help="Only this stride.")
@click.option("--image-size", "image", type=IMAGE_SIZE, help="Only this image size.")
@click.option(
    "--provenance", type=click.Choice(["measured", "imported", "predicted"]), help="Only latencies that came so."
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many rows.")
@json_option
@click.pass_context
def query(
    ctx: click.Context,
    device: str | None,
    backend_name: str | None,
    op: str | None,
    s: int | None,
    chi_in: int | None,
    chi_out: int | None,
    c_in: int | None,
    c_out: int | None,
    stride: int | None,
    image: ImageSize | None,
    provenance: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Look up operator latencies. Exit code 1 when nothing matches.

    With --device, one target of it answers: measured beats imported beats predicted. Where several targets are as good,
    they are listed, and --backend or --device KEY chooses.
    """
    store = open_store(ctx)
    require_device(store, device)
    # One device may be several targets: the best provenance is taken, and where that leaves several they are listed.
    one = store.resolve_target(device, backend_name).target.key if device is not None and provenance is None else device
    rows = store.query(
        device=one,
        backend=backend_name,
        op=op,
        s=s,
        chi_in=chi_in,
        chi_out=chi_out,
        c_in=c_in,
        c_out=c_out,
        stride=stride,
        image=image,
        provenance=provenance,
        limit=limit,
    )
    if as_json:
        print_json(
            [
                {
                    "device": row.device,
                    "backend": row.backend,
                    "runtime_version": row.runtime_version,
                    "precision": row.precision,
                    "settings": dict(row.settings),
                    "op": row.spec.op,
                    "s": row.spec.s,
                    "c_in": row.spec.c_in,
                    "c_out": row.spec.c_out,
                    "chi_in": row.spec.chi_in,
                    "chi_out": row.spec.chi_out,
                    "stride": row.spec.stride,
                    "image_size": str(row.spec.image),
                    "batch": row.spec.batch,
                    "branches": row.spec.branches,
                    "latency_ms": row.latency_ms,
                    "rel_ci": row.rel_ci if row.rel_ci is not None and row.rel_ci != float("inf") else None,
                    "visits": row.visits,
                    "left_out": row.left_out,
                    "flagged": row.flagged,
                    "provenance": row.provenance,
                }
                for row in rows
            ]
        )
    else:
        print_table(
            ("device", "backend", "version", "settings", "operator", "latency_ms", "±95%", "provenance"),
            [
                (
                    row.device,
                    row.backend,
                    row.runtime_version,
                    " ".join(f"{name}={value}" for name, value in sorted(row.settings.items())),
                    row.spec.name,
                    f"{row.latency_ms:.4f}",
                    "-" if row.rel_ci is None or row.rel_ci == float("inf") else f"{row.rel_ci:.1%}",
                    f"{row.provenance}, flagged" if row.flagged else row.provenance,
                )
                for row in rows
            ],
        )
    warn_of_flagged(sum(row.flagged for row in rows), len(rows), "latencies")
    if not rows:
        click.echo("Nothing matches.", err=True)
        ctx.exit(1)
