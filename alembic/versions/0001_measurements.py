"""Devices, targets, operators, runs, networks and what was measured of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "latency_db_0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
LATENCY_OR_REASON = "(status = 'ok' AND latency_ms IS NOT NULL) OR (status = 'failed' AND reason IS NOT NULL)"


def _choice(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), nullable=False)


def _number(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _image() -> list[sa.Column[int]]:
    return [_number("image_height"), _number("image_width"), _number("batch")]


def _reference(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"))


def _key(table: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))


def _create_things() -> None:
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("written_by_version", sa.String(64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_meta_one_row")),
        _key("meta"),
    )
    op.create_table(
        "device",
        _id(),
        sa.Column("slug", sa.String(200), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _key("device"),
        sa.UniqueConstraint("slug", name=op.f("uq_device_slug")),
    )
    op.create_table(
        "network",
        _id(),
        sa.Column("space", sa.String(100), nullable=False),
        sa.Column("space_settings", sa.JSON(), nullable=False),
        sa.Column("architecture", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        *_image(),
        _key("network"),
        sa.UniqueConstraint("space", "digest", "image_height", "image_width", "batch", name="uq_network_identity"),
    )
    identity = ("op", "s", "c_in", "c_out", "stride", "image_height", "image_width", "batch", "branches")
    op.create_table(
        "op_spec",
        _id(),
        sa.Column("op", sa.String(100), nullable=False),
        *(_number(name) for name in identity[1:]),
        _number("chi_in", nullable=True),
        _number("chi_out", nullable=True),
        _key("op_spec"),
        sa.UniqueConstraint(*identity, name="uq_op_spec_identity"),
    )
    op.create_index("ix_op_spec_image", "op_spec", ["image_height", "image_width", "batch"])


def _create_targets_and_runs() -> None:
    op.create_table(
        "target",
        _id(),
        sa.Column("key", sa.String(64), nullable=False),
        _number("device_id"),
        sa.Column("backend", sa.String(100), nullable=False),
        sa.Column("runtime", sa.String(200), nullable=False),
        sa.Column("runtime_version", sa.String(200), nullable=False),
        sa.Column("precision", sa.String(50), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(200), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _reference("target", "device_id", "device"),
        _key("target"),
        sa.UniqueConstraint("key", name=op.f("uq_target_key")),
    )
    op.create_index(op.f("ix_target_device_id"), "target", ["device_id"])
    op.create_table(
        "profiling_run",
        _id(),
        _number("target_id"),
        sa.Column("kind", _choice("kind", "profile", "validate", "import", "predict"), nullable=False),
        _number("series"),
        sa.Column("status", _choice("status", "running", "completed", "interrupted"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("reference_ms", sa.Double(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        _reference("profiling_run", "target_id", "target"),
        _key("profiling_run"),
    )
    op.create_index(op.f("ix_profiling_run_target_id"), "profiling_run", ["target_id"])


def _create_visits(table: str, column: str, of: str) -> None:
    op.create_table(
        table,
        _id(),
        _number("run_id"),
        _number("target_id"),
        _number(column),
        _number("series"),
        _number("round"),
        sa.Column("provenance", _choice("provenance", "measured", "imported", "predicted"), nullable=False),
        sa.Column("status", _choice("status", "ok", "failed"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ratio", sa.Double(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        _number("repeats", nullable=True),
        _number("warmup", nullable=True),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("elapsed_ms", sa.LargeBinary(), nullable=True),
        sa.Column("reference_ms", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint(LATENCY_OR_REASON, name=op.f(f"ck_{table}_latency_or_reason")),
        _reference(table, "run_id", "profiling_run"),
        _reference(table, "target_id", "target"),
        _reference(table, column, of),
        _key(table),
        sa.UniqueConstraint("run_id", column, "round", name=op.f(f"uq_{table}_run_id_{column}_round")),
    )
    op.create_index(f"ix_{table}_table", table, ["target_id", column, "status", "provenance", "series"])


def upgrade() -> None:
    """Apply."""
    _create_things()
    _create_targets_and_runs()
    _create_visits("measurement", "spec_id", "op_spec")
    _create_visits("network_measurement", "network_id", "network")


def downgrade() -> None:
    """Undo."""
    for table in (
        *("network_measurement", "measurement", "profiling_run", "target"),
        *("op_spec", "network", "device", "meta"),
    ):
        op.drop_table(table)
