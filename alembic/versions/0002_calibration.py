"""Calibrations: versioned rows of a target, one row per coefficient."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "latency_db_0002"
down_revision = "latency_db_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "calibration",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("space", sa.String(100), nullable=False),
        sa.Column("space_digest", sa.String(64), nullable=False),
        sa.Column("image_height", sa.Integer(), nullable=False),
        sa.Column("image_width", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("cv_error", sa.Double(), nullable=False),
        sa.Column("networks", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["profiling_run.id"], name=op.f("fk_calibration_run_id_profiling_run")),
        sa.ForeignKeyConstraint(["target_id"], ["target.id"], name=op.f("fk_calibration_target_id_target")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration")),
        sa.UniqueConstraint(
            *("target_id", "space", "space_digest", "image_height", "image_width", "batch", "version"),
            name="uq_calibration_identity",
        ),
    )
    term = sa.Enum("global", "op", "pair", name="term", native_enum=False, create_constraint=True, length=16)
    op.create_table(
        "calibration_term",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("calibration_id", sa.Integer(), nullable=False),
        sa.Column("term", term, nullable=False),
        sa.Column("op", sa.String(100), nullable=True),
        sa.Column("next_op", sa.String(100), nullable=True),
        sa.Column("stride", sa.Integer(), nullable=True),
        sa.Column("next_stride", sa.Integer(), nullable=True),
        sa.Column("s", sa.Integer(), nullable=True),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calibration_id"], ["calibration.id"], name=op.f("fk_calibration_term_calibration_id_calibration")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration_term")),
    )
    op.create_index(op.f("ix_calibration_term_calibration_id"), "calibration_term", ["calibration_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("calibration_term")
    op.drop_table("calibration")
