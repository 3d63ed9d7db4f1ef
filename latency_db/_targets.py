"""Targets in and out of the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, case, distinct, func, select

from backends.protocol import Target
from latency_db import schema
from latency_db._sql import chunks, insert_missing, now
from latency_db.errors import AmbiguousTargetError, NotFoundError
from latency_db.rows import TargetRow
from latency_db.schema import MeasurementStatus, Provenance

KEY_PREFIX = 8
"""So many digits of a target's key, or more, name it where a device is asked for."""


def target_id(connection: Connection, key: str) -> int | None:
    """The id of a target, by its key."""
    return connection.execute(select(schema.Target.id).where(schema.Target.key == key)).scalar()


def insert_target(connection: Connection, target: Target) -> int:
    """Get or create a target and its device."""
    insert_missing(connection, schema.Device, [{"slug": target.device, "name": target.device_name}])
    device_id = connection.execute(select(schema.Device.id).where(schema.Device.slug == target.device)).scalar_one()
    values = {
        "key": target.key,
        "device_id": device_id,
        "backend": target.backend,
        "runtime": target.runtime,
        "runtime_version": target.runtime_version,
        "precision": target.precision,
        "settings": dict(target.settings),
        "fingerprint": target.fingerprint,
        "environment": dict(target.environment),
        "created_at": now(),
    }
    insert_missing(connection, schema.Target, [values])
    return connection.execute(select(schema.Target.id).where(schema.Target.key == target.key)).scalar_one()


def load_targets(connection: Connection, device: str | None = None, backend: str | None = None) -> list[TargetRow]:
    """The targets of a device (or of a target's key, from its first digits) and a backend, with their figures."""
    row = schema.Target
    query = select(row, schema.Device.slug, schema.Device.name).join(schema.Device).order_by(row.id)
    if backend is not None:
        query = query.where(row.backend == backend)
    if device is not None:
        names_device = schema.Device.slug == device
        names_key = row.key.startswith(device, autoescape=True)
        query = query.where(names_device | names_key if len(device) >= KEY_PREFIX else names_device)
    found = connection.execute(query).all()
    figures = _Figures(connection, [values.id for values in found])
    return [figures.row_of(values.id, _target_of(values)) for values in found]


def resolved(rows: Sequence[TargetRow], device: str | None, backend: str | None) -> TargetRow:
    """The single best of the rows.

    Raises:
        NotFoundError: there is none.
        AmbiguousTargetError: there are several of the best provenance.
    """
    if not rows:
        wanted = " and ".join(
            f"{what} {name!r}" for what, name in (("device", device), ("backend", backend)) if name is not None
        )
        command = f"latency-db profile --backend {backend or 'NAME'}" + (f" --device {device}" if device else "")
        raise NotFoundError(
            f"the database has no target{f' of {wanted}' if wanted else ''} with these settings",
            f"measure it: {command}; or bring it: latency-db import FILE; what there is: latency-db targets",
        )
    best = min(map(_rank, rows))
    candidates = [row for row in rows if _rank(row) == best]
    if len(candidates) > 1:
        raise AmbiguousTargetError(
            f"{len(candidates)} targets match: " + "; ".join(row.line for row in candidates),
            "choose with --backend or a setting, or name one by its key: --device KEY",
        )
    return candidates[0]


def _rank(row: TargetRow) -> int:
    return Provenance(row.provenances[0]).rank if row.provenances else len(Provenance)


def has_settings(target: Target, settings: Mapping[str, object]) -> bool:
    """Whether the target has every one of these settings."""
    return all(name in target.settings and target.settings[name] == value for name, value in settings.items())


class _Figures:
    """What is stored of some targets, counted in the database."""

    def __init__(self, connection: Connection, ids: Iterable[int]) -> None:
        self._runs: dict[int, Any] = {}
        self._specs: dict[int, int] = {}
        self._counts: dict[int, dict[Provenance, int]] = {}
        for chunk in chunks(ids):
            self._count(connection, chunk)

    def _count(self, connection: Connection, ids: list[int]) -> None:
        run, row = schema.ProfilingRun, schema.Measurement
        runs = select(run.target_id, func.max(run.series), func.min(run.reference_ms)).group_by(run.target_id)
        for values in connection.execute(runs.where(run.target_id.in_(ids))):
            self._runs[values[0]] = values
        ok = (row.target_id.in_(ids), row.status == MeasurementStatus.OK)
        # One pass in the order of the index: grouping by provenance, too, would sort a million rows.
        per_provenance = [func.count(case((row.provenance == provenance, 1))) for provenance in Provenance]
        counts = select(row.target_id, func.count(distinct(row.spec_id)), *per_provenance).where(*ok)
        for id_, specs, *by_provenance in connection.execute(counts.group_by(row.target_id)):
            self._specs[id_] = specs
            self._counts[id_] = {
                provenance: count for provenance, count in zip(Provenance, by_provenance, strict=True) if count
            }

    def row_of(self, id_: int, target: Target) -> TargetRow:
        _, series, reference_ms = self._runs.get(id_, (id_, 0, None))
        counts = self._counts.get(id_, {})
        return TargetRow(
            id=id_,
            target=target,
            series=series,
            reference_ms=reference_ms,
            n_specs=self._specs.get(id_, 0),
            n_measurements=sum(counts.values()),
            provenances=tuple(provenance.value for provenance in Provenance if provenance in counts),
        )


def _target_of(values: Any) -> Target:
    return Target(
        device=values.slug,
        device_name=values.name,
        backend=values.backend,
        runtime=values.runtime,
        runtime_version=values.runtime_version,
        precision=values.precision,
        settings=values.settings,
        fingerprint=values.fingerprint,
        environment=values.environment,
    )
