"""``searcher runs``: the searches that the database knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import json_option, open_store, print_json, print_table

if TYPE_CHECKING:
    from latency_db.rows import DerivedRow, SearchRow


@click.command()
@click.option("--device", help="Only searches for this device.")
@json_option
@click.pass_context
def runs(ctx: click.Context, device: str | None, as_json: bool) -> None:
    """List the searches in the database: how they stand and what they came to."""
    store = open_store(ctx)
    searches = [row for row in store.searches() if device in (None, row.device)]
    derived: dict[int, dict[str, DerivedRow]] = {}
    for row in store.derived():
        derived.setdefault(row.search_id, {})[row.role] = row
    if as_json:
        print_json([_document(row, derived.get(row.id, {})) for row in searches])
        return
    print_table(
        ("id", "began", "device", "image", "seed", "status", "epochs", "student ms", "mIoU", "folder"),
        [_cells(row, derived.get(row.id, {}).get("student")) for row in searches],
    )


def _cells(row: SearchRow, student: DerivedRow | None) -> tuple[str, ...]:
    return (
        str(row.id),
        f"{row.started_at:%Y-%m-%d %H:%M}",
        row.device,
        str(row.image),
        str(row.seed),
        f"{row.status}: {row.reason}" if row.reason else row.status,
        str(row.epochs),
        "-" if student is None else f"{student.latency_ms:.2f}",
        "-" if student is None or student.miou is None else f"{student.miou:.1%}",
        row.folder,
    )


def _document(row: SearchRow, derived: dict[str, DerivedRow]) -> dict[str, Any]:
    return {
        "id": row.id,
        "folder": row.folder,
        "space": row.space,
        "device": row.device,
        "target_id": row.target_id,
        "target": row.target_line,
        "image_size": str(row.image),
        "batch": row.batch,
        "seed": row.seed,
        "status": row.status,
        "reason": row.reason,
        "started_at": row.started_at.isoformat(),
        "finished_at": None if row.finished_at is None else row.finished_at.isoformat(),
        "epochs": row.epochs,
        **{role: None if role not in derived else _derived_document(derived[role]) for role in ("student", "teacher")},
    }


def _derived_document(row: DerivedRow) -> dict[str, Any]:
    return {
        "network_id": row.network_id,
        "branches": list(row.branches),
        "how": row.how,
        "latency_ms": row.latency_ms,
        "miou": row.miou,
    }
