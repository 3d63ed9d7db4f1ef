"""Searches for architectures, and the networks that they derived."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "latency_db_0003"
down_revision = "latency_db_0002"
branch_labels = None
depends_on = None


def _choice(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "search",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("space", sa.String(100), nullable=False),
        sa.Column("space_settings", sa.JSON(), nullable=False),
        sa.Column("device", sa.String(200), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=True),
        sa.Column("target_line", sa.Text(), nullable=False),
        sa.Column("image_height", sa.Integer(), nullable=False),
        sa.Column("image_width", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("status", _choice("status", "running", "completed", "interrupted", "failed"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["target_id"], ["target.id"], name=op.f("fk_search_target_id_target")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search")),
        sa.UniqueConstraint("folder", "started_at", name="uq_search_identity"),
    )
    op.create_index(op.f("ix_search_device"), "search", ["device"])
    op.create_table(
        "derived_architecture",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("role", _choice("role", "teacher", "student"), nullable=False),
        sa.Column("network_id", sa.Integer(), nullable=False),
        sa.Column("branches", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("miou", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_id"], ["network.id"], name=op.f("fk_derived_architecture_network_id_network")
        ),
        sa.ForeignKeyConstraint(["search_id"], ["search.id"], name=op.f("fk_derived_architecture_search_id_search")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_derived_architecture")),
        sa.UniqueConstraint("search_id", "role", name=op.f("uq_derived_architecture_search_id_role")),
    )
    op.create_index(op.f("ix_derived_architecture_network_id"), "derived_architecture", ["network_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("derived_architecture")
    op.drop_table("search")
