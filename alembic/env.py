"""What alembic runs around the migrations. The connection, already in a transaction, comes from the caller."""

from __future__ import annotations

from alembic import context

from latency_db.schema import Base


def run() -> None:
    """Run the migrations that were asked for over the caller's connection."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("no connection given: migrate with `latency-db db upgrade`")
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
