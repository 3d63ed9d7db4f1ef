"""Visits in and out of the two tables that hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, DateTime, Result, Select, String, func, insert, select, type_coerce

from backends.observers import Json
from backends.samples import Visit
from latency_db import schema
from latency_db._sql import CHUNK, SPEC_COLUMNS, now, spec_is, spec_of
from latency_db.errors import InputError, NotFoundError
from latency_db.keys import OpSpec
from latency_db.rows import RawMeasurement, RunExtent, RunRow, SpecSeries
from latency_db.schema import MeasurementStatus, Provenance, utc

VisitModel = type[schema.Measurement] | type[schema.NetworkMeasurement]
Conditions = Sequence[ColumnElement[bool]]

_RANK = {provenance.value: provenance.rank for provenance in Provenance}


def model_of(network: bool) -> VisitModel:
    """The table of networks' visits, or of operators'."""
    return schema.NetworkMeasurement if network else schema.Measurement


def visit_values(visit: Visit) -> dict[str, Any]:
    """The columns that a visit fills."""
    return {
        "round": visit.round,
        "status": MeasurementStatus.OK,
        "ratio": visit.ratio,
        "latency_ms": visit.median_ms,
        "repeats": visit.repeats,
        "warmup": visit.warmup,
        "flags": list(visit.flags),
        "elapsed_ms": _packed(visit.elapsed_ms),
        "reference_ms": _packed(visit.reference_ms),
        "observed": None if visit.observed is None else dict(visit.observed),
        "clean": visit.clean,
    }


def value_values(latency_ms: float, flags: Iterable[str] = ()) -> dict[str, Any]:
    """The columns that a latency without samples fills."""
    if not (math.isfinite(latency_ms) and latency_ms > 0):
        raise InputError(f"a latency of {latency_ms} ms is not a positive number")
    return {"round": 0, "status": MeasurementStatus.OK, "latency_ms": float(latency_ms), "flags": list(flags)}


def failure_values(round_: int, reason: str) -> dict[str, Any]:
    """The columns that a failure fills."""
    return {"round": round_, "status": MeasurementStatus.FAILED, "reason": reason, "flags": []}


def insert_rows(
    connection: Connection,
    run_id: int,
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    *,
    provenance: Provenance,
    network: bool,
    series: int | None = None,
) -> None:
    """Insert rows of a run: (id of the operator or network, columns); in the run's series, or another."""
    run = schema.ProfilingRun
    found = connection.execute(select(run.target_id, run.series).where(run.id == run_id)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no run {run_id}")
    common = {
        "run_id": run_id,
        "target_id": found.target_id,
        "series": found.series if series is None else series,
        "provenance": provenance,
        "created_at": now(),
    }
    of = "network_id" if network else "spec_id"
    connection.execute(insert(model_of(network)), [{**common, of: id_, **values} for id_, values in rows])


def locked_values(connection: Connection, run_id: int, provenance: Provenance) -> set[tuple[int, float]]:
    """(operator, latency) of every value without samples that a run's target has.

    Until the transaction ends nobody else gets past this for the same target: its row is locked. (SQLite has one
    writer at a time anyway.)
    """
    run, row = schema.ProfilingRun, schema.Measurement
    target_id = connection.execute(select(run.target_id).where(run.id == run_id)).scalar_one()
    connection.execute(select(schema.Target.id).where(schema.Target.id == target_id).with_for_update())
    values = select(row.spec_id, row.latency_ms).where(
        row.target_id == target_id,
        row.provenance == provenance,
        row.status == MeasurementStatus.OK,
        row.elapsed_ms.is_(None),
    )
    return {(spec_id, latency_ms) for spec_id, latency_ms in connection.execute(values) if latency_ms is not None}


def spec_series(connection: Connection, conditions: Conditions) -> dict[OpSpec, SpecSeries]:
    """Per operator its newest series of the best provenance, over the latencies that meet the conditions."""
    row = schema.Measurement
    wanted = select(row.spec_id).join(schema.OpSpec).where(row.status == MeasurementStatus.OK, *conditions)
    series = _collected(connection.execute(_scalars(row.spec_id, row, conditions).join(schema.OpSpec)))
    specs = connection.execute(select(schema.OpSpec.id, *SPEC_COLUMNS).where(schema.OpSpec.id.in_(wanted)))
    return {spec_of(values[1:]): series[values[0]] for values in specs if values[0] in series}


def one_series(connection: Connection, target_id: int, spec: OpSpec) -> SpecSeries | None:
    """As ``spec_series`` for a single operator."""
    row = schema.Measurement
    conditions = [row.target_id == target_id, *spec_is(spec)]
    rows = connection.execute(_scalars(row.spec_id, row, conditions).join(schema.OpSpec))
    return next(iter(_collected(rows).values()), None)


def network_series(connection: Connection, conditions: Conditions) -> dict[int, SpecSeries]:
    """Per network its newest series of the best provenance."""
    row = schema.NetworkMeasurement
    return _collected(connection.execute(_scalars(row.network_id, row, conditions)))


def failures(connection: Connection, target_id: int, run_id: int | None) -> dict[OpSpec, str]:
    """The reason of every operator whose last row is a failure."""
    row = schema.Measurement
    conditions = [row.target_id == target_id] if run_id is None else [row.target_id == target_id, row.run_id == run_id]
    last = select(func.max(row.id)).where(*conditions).group_by(row.spec_id)
    query = (
        select(row.reason, *SPEC_COLUMNS)
        .join(schema.OpSpec)
        .where(row.id.in_(last), row.status == MeasurementStatus.FAILED)
        .order_by(row.spec_id)
    )
    return {spec_of(values[1:]): values[0] for values in connection.execute(query)}


def extent(connection: Connection, run: RunRow) -> RunExtent:
    """How far a run has come. A run's heartbeat is a round apart, and a killed one has no end: its visits tell more."""
    visits, moments = 0, [run.heartbeat_at, *([run.finished_at] if run.finished_at else [])]
    for row in (schema.Measurement, schema.NetworkMeasurement):
        count, last = connection.execute(
            select(func.count(), func.max(row.created_at)).where(row.run_id == run.id)
        ).one()
        visits += count
        moments += [] if last is None else [last]
    return RunExtent(run_id=run.id, status=run.status, visits=visits, started_at=run.started_at, last_at=max(moments))


def raw_page(connection: Connection, target_id: int, after: int) -> list[tuple[int, RawMeasurement]]:
    """The next rows of a target with their samples, with their ids."""
    row = schema.Measurement
    columns = (
        *(row.id, row.run_id, row.series, row.round, row.provenance, row.status, row.reason, row.latency_ms),
        *(row.repeats, row.warmup, row.flags, row.elapsed_ms, row.reference_ms, row.created_at, row.observed),
    )
    query = (
        select(*columns, *SPEC_COLUMNS)
        .join(schema.OpSpec)
        .where(row.target_id == target_id, row.id > after)
        .order_by(row.id)
        .limit(CHUNK)
    )
    return [(values.id, _raw(values, len(columns))) for values in connection.execute(query)]


def _raw(values: Any, n_columns: int) -> RawMeasurement:
    visit = None
    if values.elapsed_ms is not None:
        visit = Visit(
            round=values.round,
            elapsed_ms=_unpacked(values.elapsed_ms),
            reference_ms=_unpacked(values.reference_ms),
            repeats=values.repeats,
            warmup=values.warmup,
            flags=tuple(values.flags),
            observed=observed(values.observed),
        )
    return RawMeasurement(
        run_id=values.run_id,
        spec=spec_of(values[n_columns:]),
        series=values.series,
        round=values.round,
        provenance=values.provenance.value,
        status=values.status.value,
        reason=values.reason,
        visit=visit,
        latency_ms=values.latency_ms,
        flags=tuple(values.flags),
        created_at=values.created_at,
    )


def observed(document: Mapping[str, Any] | None) -> dict[str, Json] | None:
    """What observers saw, from JSON, where a list is a list."""
    if document is None:
        return None
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def _scalars(id_: Any, row: VisitModel, conditions: Conditions) -> Select[Any]:
    """Plain columns without samples: a target has ten thousand rows."""
    columns = (row.id, row.series, row.round, row.ratio, row.latency_ms, type_coerce(row.provenance, String))
    # Moments as the driver gives them: only the last of each series is made a proper one.
    moment = type_coerce(row.created_at, DateTime)
    return select(id_, *columns, moment, row.clean).where(row.status == MeasurementStatus.OK, *conditions)


def _collected(rows: Result[Any]) -> dict[int, SpecSeries]:
    groups: dict[int, list[Any]] = {}
    for values in rows.all():
        groups.setdefault(values[0], []).append(values)
    return {id_: _newest_of_best(group) for id_, group in groups.items()}


def _newest_of_best(group: list[Any]) -> SpecSeries:
    group.sort(key=lambda values: (_RANK[values[6]], -values[2], values[1]))
    best = (group[0][6], group[0][2])
    kept = [values for values in group if (values[6], values[2]) == best]
    created: list[datetime] = [values[7] for values in kept]
    return SpecSeries(
        series=best[1],
        rounds=tuple(values[3] for values in kept),
        all_ratios=tuple(values[4] for values in kept) if all(values[4] is not None for values in kept) else (),
        all_latencies_ms=tuple(values[5] for values in kept),
        clean=tuple(values[8] for values in kept),
        provenance=best[0],
        created_at=utc(max(created)),
    )


def _packed(samples: Iterable[float]) -> bytes:
    return np.asarray(tuple(samples), dtype="<f8").tobytes()


def _unpacked(samples: bytes) -> tuple[float, ...]:
    return tuple(np.frombuffer(samples, dtype="<f8").tolist())


def pages(fetch: Any) -> Iterator[RawMeasurement]:
    """All pages that ``fetch(after)`` gives, each in a transaction of its own."""
    after = 0
    while page := fetch(after):
        yield from (raw for _, raw in page)
        after = page[-1][0]
