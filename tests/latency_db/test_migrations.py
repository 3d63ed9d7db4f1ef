"""A migrated database equals a fresh one, and an old one goes on being used."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select

from latency_db import _migrations, session
from latency_db.errors import SchemaError
from latency_db.keys import ImageSize, OpSpec
from latency_db.schema import NEWEST_REVISION, REVISIONS, Base, Meta
from latency_db.store import CalibrationRow, Store

OLD_DATABASES = sorted((Path(__file__).parent.parent / "assets" / "old_dbs").glob("*.sql"))
SPEC = OpSpec(op="conv_x2", s=8, c_in=64, c_out=128, stride=2, image=ImageSize(256, 512))


def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_migrations.migrations_folder()))


def old_file(dump: Path, folder: Path) -> Path:
    path = folder / "old.db"
    database = sqlite3.connect(path)
    database.executescript(dump.read_text())
    database.close()
    return path


def difference(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def described(engine: Engine) -> dict[str, Any]:
    """Everything of a schema that the database can tell, in an order of its own."""
    inspector = inspect(engine)
    return {
        table: {
            "columns": [{**column, "type": str(column["type"])} for column in inspector.get_columns(table)],
            "key": inspector.get_pk_constraint(table),
            "unique": sorted(inspector.get_unique_constraints(table), key=str),
            "checks": sorted(inspector.get_check_constraints(table), key=str),
            "indexes": sorted(inspector.get_indexes(table), key=str),
            "foreign": sorted(inspector.get_foreign_keys(table), key=str),
        }
        for table in sorted(inspector.get_table_names())
        if table != "alembic_version"
    }


def checks(engine: Engine) -> dict[str, list[str]]:
    inspector = inspect(engine)
    return {
        table: sorted(str(check["name"]) for check in inspector.get_check_constraints(table))
        for table in Base.metadata.tables
    }


def test_the_known_revisions_are_those_of_the_scripts() -> None:
    revisions = [script.revision for script in scripts().walk_revisions()]
    assert tuple(reversed(revisions)) == REVISIONS
    assert scripts().get_heads() == [NEWEST_REVISION]


def test_migrations_bring_about_what_the_models_say(store_url: str) -> None:
    engine = session.open_engine(store_url)
    assert difference(engine) == []
    migrated = checks(engine)
    with session.writing(engine) as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert checks(engine) == migrated
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_an_old_database_upgraded_equals_a_fresh_one(store_url: str, revision: str) -> None:
    engine = session._engine(store_url)
    with session.writing(engine) as connection:
        _migrations.migrate(connection, revision)
    engine.dispose()
    assert session.upgrade(store_url) == revision
    engine = session.open_engine(store_url)
    assert difference(engine) == []
    upgraded = described(engine)
    with session.writing(engine) as connection:
        Base.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    engine.dispose()
    engine = session.open_engine(store_url)
    assert described(engine) == upgraded
    engine.dispose()


def test_every_schema_before_the_newest_has_a_frozen_database() -> None:
    assert [f"latency_db_{dump.stem}" for dump in OLD_DATABASES] == list(REVISIONS[:-1])


@pytest.mark.parametrize("dump", OLD_DATABASES, ids=lambda dump: dump.stem)
def test_a_frozen_database_is_refused_then_upgraded_then_used(dump: Path, tmp_path: Path) -> None:
    url = str(old_file(dump, tmp_path))
    with pytest.raises(SchemaError, match="latency-db db upgrade"):
        Store.open(url)
    session.upgrade(url)
    with Store.open(url) as store:
        target = store.resolve_target("cpu", "ort", {"threads": 1})
        assert (target.n_specs, target.n_measurements, target.reference_ms, target.series) == (1, 3, 1.25, 1)
        assert store.visit_ratios(target.id)[SPEC].rounds == (0, 1, 2)
        assert list(store.failures(target.id).values()) == ["no such kernel"]
        raw = [item.visit for item in store.raw_measurements(target.id) if item.visit is not None]
        assert raw[0].elapsed_ms == (2.0, 2.02, 2.04)
        assert raw[0].flags == ("throttled",)
        # What somebody wrote there before there were observers keeps no visit from counting.
        assert {(one.observed, one.clean) for one in raw} == {(None, True)}
        (latency,) = store.query()
        assert (latency.visits, latency.left_out, latency.flagged) == (3, 0, False)
        (network_id,) = store.network_visits(target.id)
        network = store.networks([network_id])[network_id]
        assert network.space == "fasterseg"
        run_id = store.start_run(target.id, "profile", series=2, plan={}, environment={})
        store.add_visits(run_id, [(store.ensure_specs([SPEC])[SPEC], raw[0])])
        assert store.visit_ratios(target.id)[SPEC].series == 2
        row = CalibrationRow(
            target_id=target.id,
            space="fasterseg",
            space_digest="d",
            image=network.image,
            batch=1,
            method="ridge",
            cv_error=0.01,
            networks=1,
        )
        store.add_calibration(row)
        assert store.calibration(target.id, "fasterseg", "d", network.image) is not None
        search_id = store.start_search(
            folder="/runs/one",
            space="fasterseg",
            space_settings=network.space_settings,
            device="cpu",
            target_id=target.id,
            target_line=target.line,
            image=network.image,
            batch=1,
            config={},
            seed=0,
        )
        # What was measured before there were searches may be what a search comes to.
        store.add_derived(
            search_id, role="student", architecture=network.architecture, branches=(8,), how="argmax", latency_ms=1.0
        )
        assert [row.network_id for row in store.derived(search_id)] == [network_id]


def test_a_calibration_of_an_old_database_is_still_the_one(tmp_path: Path) -> None:
    url = str(old_file(OLD_DATABASES[1], tmp_path))
    session.upgrade(url)
    with Store.open(url) as store:
        row = store.calibration(1, "fasterseg", "e", ImageSize(256, 512))
    assert row is not None
    assert (row.cv_error, row.run_id, [term.value for term in row.terms]) == (0.02, 1, [0.98, 1.01, 0.25])


def test_upgrading_says_who_did_it(tmp_path: Path) -> None:
    url = str(old_file(OLD_DATABASES[0], tmp_path))
    with Store(url, session._engine(url)) as store, session.writing(store._engine) as connection:
        connection.exec_driver_sql("UPDATE meta SET written_by_version = '0.0.1'")
    session.upgrade(url)
    with Store.open(url) as store, store._reading() as connection:
        assert connection.execute(select(Meta.written_by_version)).scalars().all() == [
            _migrations.latency_db.__version__
        ]


def test_every_migration_can_be_undone(store_url: str) -> None:
    engine = session.open_engine(store_url)
    with session.writing(engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_migrations.migrations_folder()))
        config.set_main_option("path_separator", "os")
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
