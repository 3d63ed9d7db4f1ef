"""What was seen of the machine during a visit, and whether the visit counts. All that there were before do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "latency_db_0004"
down_revision = "latency_db_0003"
branch_labels = None
depends_on = None

TABLES = ("measurement", "network_measurement")


def upgrade() -> None:
    """Apply."""
    for table in TABLES:
        op.add_column(table, sa.Column("observed", sa.JSON(none_as_null=True), nullable=True))
        op.add_column(table, sa.Column("clean", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    """Undo."""
    for table in TABLES:
        op.drop_column(table, "clean")
        op.drop_column(table, "observed")
