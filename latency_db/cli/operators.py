"""``latency-db operators``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from latency_db.cli.common import (
    DURATION,
    ProgressLine,
    backend_options,
    device_option,
    json_option,
    make_backend,
    make_plan,
    open_store,
    print_json,
    print_table,
    warn_of_flagged,
)

if TYPE_CHECKING:
    from latency_db.table1 import Row


@click.command()
@backend_options
@device_option
@click.option("--time-budget", type=DURATION, default="20s", show_default=True, help="Stop measuring after this long.")
@click.option("--rel-ci", type=float, default=0.01, show_default=True, help="Half-width of the 95% interval to reach.")
@json_option
@click.pass_context
def operators(
    ctx: click.Context,
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    device: str | None,
    time_budget: float,
    rel_ci: float,
    as_json: bool,
) -> None:
    """Compare convolutions as Table 1 of the paper does, at 1x256x32x64.

    Latency on this target, multiply-adds, parameters and relative receptive field of the standard, grouped, dilated and
    zoomed convolution. What the database lacks is measured.
    """
    from latency_db import spaces, table1
    from latency_db.campaign import Campaign

    plan = make_plan(rel_ci, time_budget)
    store = open_store(ctx)
    line = ProgressLine()
    campaign = Campaign(
        store, make_backend(backend_name, threads, settings), spaces.create("fasterseg"), table1.IMAGE, 1, device, line
    )
    jobs = campaign.operator_jobs(table1.specs())
    failed: dict[str, str] = {}
    if not all(job.is_known(plan) for job in jobs.values()):
        try:
            _, outcome = campaign.run("profile", list(jobs.values()), plan, seed=0, details={"table": 1})
        finally:
            line.end()
        failed = {job.workload.name: outcome.failed[job.key] for job in jobs.values() if job.key in outcome.failed}
    for reason in failed.values():
        click.echo(f"Error: not measured: {reason}", err=True)
    if len(failed) == len(jobs):
        ctx.exit(1)
    reference_ms = campaign.reference_ms()
    found = {spec: job.estimate().scaled(reference_ms) for spec, job in jobs.items() if job.ratios}
    warn_of_flagged(sum(one.flagged for one in found.values()), len(found), "operators")
    table = table1.rows(found)
    flagged = {spec.op for spec, one in found.items() if one.flagged}
    if as_json:
        print_json([{**row.__dict__, "rel_ci": _finite(row.rel_ci), "flagged": row.op in flagged} for row in table])
    else:
        _print(table)
    if failed:
        ctx.exit(1)


def _finite(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else value


def _print(table: list[Row]) -> None:
    base = table[0]

    def change(value: float, reference: float) -> str:
        return "" if value == reference else f" ({value / reference - 1:+.0%})"

    print_table(
        ("layer", "latency (ms)", "±95%", "MACs (G)", "params (M)", "RF"),
        [
            (
                row.title,
                "-"
                if row.latency_ms is None
                else f"{row.latency_ms:.3f}" + (change(row.latency_ms, base.latency_ms) if base.latency_ms else ""),
                "-" if _finite(row.rel_ci) is None else f"{row.rel_ci:.1%}",
                f"{row.macs / 1e9:.2f}{change(row.macs, base.macs)}",
                f"{row.parameters / 1e6:.2f}{change(row.parameters, base.parameters)}",
                f"{row.receptive_field:g}",
            )
            for row in table
        ],
    )
