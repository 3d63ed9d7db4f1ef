"""Where the migrations lie and how they are run: in code, over the caller's connection, in the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, delete, insert, inspect, select, table
from sqlalchemy import column as sql_column

import latency_db
from latency_db.errors import SchemaError
from latency_db.schema import NEWEST_REVISION, REVISION_PREFIX, REVISIONS, Meta

_VERSION_TABLE = table("alembic_version", sql_column("version_num"))


def migrations_folder() -> Path:
    """The folder that ships in the wheel, else the one of a source checkout."""
    package = Path(latency_db.__file__).resolve().parent
    for folder in (package / "migrations", package.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError("the migrations are missing from this installation", "install latency-db again")


def migrate(connection: Connection, revision: str = NEWEST_REVISION) -> None:
    """Bring the schema up to ``revision``; nothing is committed here."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, revision)
    connection.execute(delete(Meta))
    connection.execute(insert(Meta).values(id=1, written_by_version=latency_db.__version__))


def revision_of(connection: Connection, where: str) -> str | None:
    """The revision of a database of ours; None for an empty one.

    Raises:
        SchemaError: the database belongs to another program.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" in tables:
        revisions = connection.execute(select(_VERSION_TABLE.c.version_num)).scalars().all()
        if len(revisions) == 1 and str(revisions[0]).startswith(REVISION_PREFIX):
            return str(revisions[0])
    raise SchemaError(f"{where} is not a latency database: it holds tables of another program", "choose another --db")


def check_not_newer(connection: Connection, revision: str, where: str) -> None:
    """Refuse a schema from the future.

    Raises:
        SchemaError: it names the version that is needed.
    """
    if revision in REVISIONS:
        return
    version = None
    if "meta" in inspect(connection).get_table_names():
        version = connection.execute(select(Meta.written_by_version)).scalar()
    raise SchemaError(
        f"{where} was written by latency-db {version or 'of a newer version'} (schema {revision}); "
        f"this is {latency_db.__version__}",
        f"pip install --upgrade 'latency-db>={version}'" if version else "upgrade latency-db",
    )


def check_newest(connection: Connection, revision: str, where: str) -> None:
    """Refuse every schema but the newest.

    Raises:
        SchemaError: it names the command, or the version, that mends it.
    """
    check_not_newer(connection, revision, where)
    if revision != NEWEST_REVISION:
        raise SchemaError(
            f"{where} has the old schema {revision}; this version works with {NEWEST_REVISION}",
            "run: latency-db db upgrade",
        )
