"""What was seen of the machine during a visit, and whether the visit counts: all that there were before do.

And calibrations may have a term for what crosses an operator's boundary.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "latency_db_0004"
down_revision = "latency_db_0003"
branch_labels = None
depends_on = None

TABLES = ("measurement", "network_measurement")
TERMS = "ck_calibration_term_term"


def upgrade() -> None:
    """Apply."""
    for table in TABLES:
        op.add_column(table, sa.Column("observed", sa.JSON(none_as_null=True), nullable=True))
        op.add_column(table, sa.Column("clean", sa.Boolean(), nullable=False, server_default=sa.true()))
    _allow("global", "boundary", "op", "pair")


def downgrade() -> None:
    """Undo. Calibrations with a term for the boundary are nothing without it."""
    term = sa.table("calibration_term", sa.column("calibration_id"), sa.column("term"))
    calibration = sa.table("calibration", sa.column("id"))
    gone = op.get_bind().scalars(sa.select(term.c.calibration_id).where(term.c.term == "boundary")).all()
    op.execute(sa.delete(term).where(term.c.calibration_id.in_(gone)))
    op.execute(sa.delete(calibration).where(calibration.c.id.in_(gone)))
    _allow("global", "op", "pair")
    for table in TABLES:
        op.drop_column(table, "clean")
        op.drop_column(table, "observed")


def _allow(*terms: str) -> None:
    """What a term of a calibration may be."""
    with op.batch_alter_table("calibration_term") as table:
        table.drop_constraint(op.f(TERMS), type_="check")
        table.create_check_constraint(op.f(TERMS), "term IN ({})".format(", ".join(f"'{term}'" for term in terms)))
