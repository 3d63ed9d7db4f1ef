"""The one door to the stored latencies. Every method is one transaction; nothing it returns is tied to a connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, insert, select, update

from backends.protocol import Target
from backends.samples import Visit, estimate_of
from latency_db import _networks, _targets, _visits, schema
from latency_db._database_errors import shown, translated
from latency_db._searches import SearchMethods
from latency_db._sql import SPEC_COLUMNS, insert_missing, now, spec_of, spec_values
from latency_db.calibration import Term
from latency_db.calibration_row import CalibrationRow
from latency_db.errors import NotFoundError
from latency_db.keys import ImageSize, OpSpec
from latency_db.open_run import OpenRun
from latency_db.rows import (
    DeviceRow,
    FlagCounts,
    LatencyRow,
    NetworkRow,
    RawMeasurement,
    RunExtent,
    RunRow,
    SpecSeries,
    TargetRow,
)
from latency_db.schema import Provenance, RunKind, RunStatus
from latency_db.session import open_engine, resolve_url, writing

__all__ = [
    "CalibrationRow",
    "DeviceRow",
    "LatencyRow",
    "NetworkRow",
    "Provenance",
    "RawMeasurement",
    "RunKind",
    "RunRow",
    "RunStatus",
    "SpecSeries",
    "Store",
    "TargetRow",
    "Term",
]


class Store(SearchMethods):
    """An open latency database. Processes may share a database, each with a store of its own."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self._engine = engine

    @classmethod
    def open(cls, url: str | None = None) -> Store:
        """Open the database, which is created where it is missing.

        Args:
            url: see ``session.resolve_url``.

        Raises:
            StorageError: it cannot be opened; ``SchemaError`` where its schema is not this version's.
        """
        resolved = resolve_url(url)
        return cls(resolved, open_engine(resolved))

    @property
    def shown_url(self) -> str:
        """The database as people may see it: without a password."""
        return shown(self._engine.url)

    def close(self) -> None:
        """Give the connections back. Calling it twice is harmless."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self._engine.url), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with translated(self._engine.url), writing(self._engine) as connection:
            yield connection

    # Targets and devices

    def ensure_target(self, target: Target) -> int:
        """The id of the target, which is stored where it is not yet."""
        with self._reading() as connection:
            found = _targets.target_id(connection, target.key)
        if found is not None:
            return found
        with self._writing() as connection:
            return _targets.insert_target(connection, target)

    def targets(self, device: str | None = None, backend: str | None = None) -> list[TargetRow]:
        """The targets of a device (its slug, or eight or more digits of a target's key) and a backend."""
        with self._reading() as connection:
            return _targets.load_targets(connection, device, backend)

    def resolve_target(
        self, device: str | None, backend: str | None = None, settings: Mapping[str, object] | None = None
    ) -> TargetRow:
        """The one target that matches; measured beats imported beats predicted.

        Raises:
            NotFoundError: none does.
            AmbiguousTargetError: several of the best provenance do.
        """
        rows = self.targets(device, backend)
        matching = [row for row in rows if _targets.has_settings(row.target, settings or {})]
        return _targets.resolved(matching, device, backend)

    def has_latencies(self, device: str) -> bool:
        """Whether there is any latency of a device (its slug, or eight or more digits of a target's key)."""
        return any(row.n_measurements for row in self.targets(device))

    def devices(self) -> list[DeviceRow]:
        """Every device, by slug."""
        row = schema.Device
        query = (
            select(row.slug, row.name, func.count(schema.Target.id))
            .outerjoin(schema.Target, schema.Target.device_id == row.id)
            .group_by(row.id, row.slug, row.name)
            .order_by(row.slug)
        )
        with self._reading() as connection:
            return [DeviceRow(slug=slug, name=name, targets=n) for slug, name, n in connection.execute(query)]

    # Operators

    def ensure_specs(self, specs: Sequence[OpSpec]) -> dict[OpSpec, int]:
        """The ids of the operators, which are stored where they are not yet."""
        # In one order everywhere: two writers of a PostgreSQL never wait for each other crosswise.
        wanted = sorted(set(specs))
        with self._reading() as connection:
            known = self._spec_ids(connection, wanted)
        missing = [spec for spec in wanted if spec not in known]
        if missing:
            with self._writing() as connection:
                insert_missing(connection, schema.OpSpec, [spec_values(spec) for spec in missing])
                known |= self._spec_ids(connection, missing)
        return {spec: known[spec] for spec in wanted}

    @staticmethod
    def _spec_ids(connection: Connection, specs: Iterable[OpSpec]) -> dict[OpSpec, int]:
        row = schema.OpSpec
        ids = {}
        for image, batch in {(spec.image, spec.batch) for spec in specs}:
            at = (row.image_height == image.height, row.image_width == image.width, row.batch == batch)
            for values in connection.execute(select(row.id, *SPEC_COLUMNS).where(*at)):
                ids[spec_of(values[1:])] = values[0]
        return ids

    # Runs

    def start_run(
        self, target_id: int, kind: str, *, series: int, plan: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> int:
        """Begin a run; its kind is one of ``RunKind``."""
        moment = now()
        values = {
            "target_id": target_id,
            "kind": RunKind(kind),
            "series": series,
            "status": RunStatus.RUNNING,
            "plan": dict(plan),
            "environment": dict(environment),
            "started_at": moment,
            "heartbeat_at": moment,
        }
        with self._writing() as connection:
            return connection.execute(
                insert(schema.ProfilingRun).values(values).returning(schema.ProfilingRun.id)
            ).scalar_one()

    def heartbeat(self, run_id: int, reference_ms: float | None) -> None:
        """Say that a run lives, and what the reference workload takes undisturbed as far as it knows."""
        self._update_run(run_id, reference_ms, heartbeat_at=now())

    def finish_run(self, run_id: int, status: str, reason: str | None, reference_ms: float | None) -> None:
        """End a run; its status is one of ``RunStatus``."""
        moment = now()
        self._update_run(
            run_id, reference_ms, status=RunStatus(status), reason=reason, finished_at=moment, heartbeat_at=moment
        )

    @contextmanager
    def running(
        self, target_id: int, kind: str, *, series: int, plan: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> Iterator[OpenRun]:
        """A run as long as the block goes on: complete at its end, interrupted where it ends in an exception."""
        run = OpenRun(self.start_run(target_id, kind, series=series, plan=plan, environment=environment))
        try:
            yield run
        except BaseException as error:
            # Ctrl-C among them: the run's row must not claim that it is still going on.
            self.finish_run(run.id, RunStatus.INTERRUPTED, type(error).__name__, None)
            raise
        self.finish_run(run.id, RunStatus.COMPLETED, run.reason, run.reference_ms)

    def _update_run(self, run_id: int, reference_ms: float | None, **values: Any) -> None:
        if reference_ms is not None:
            values["reference_ms"] = reference_ms
        with self._writing() as connection:
            done = connection.execute(
                update(schema.ProfilingRun).where(schema.ProfilingRun.id == run_id).values(**values)
            )
            if done.rowcount == 0:
                raise NotFoundError(f"there is no run {run_id}")

    def runs(self, target_id: int | None = None) -> list[RunRow]:
        """The runs, of one target or of all, in the order in which they began."""
        row = schema.ProfilingRun
        query = select(row).order_by(row.id)
        if target_id is not None:
            query = query.where(row.target_id == target_id)
        with self._reading() as connection:
            return [_run_of(values) for values in connection.execute(query)]

    def run_extents(self, noted: Mapping[str, int]) -> list[RunExtent]:
        """How far the runs have come whose row says this of where they come from, in the order in which they began.

        Args:
            noted: names and numbers in the run's plan, as ``profiling.profile`` took them.
        """
        row = schema.ProfilingRun
        conditions = [row.plan[name].as_integer() == value for name, value in noted.items()]
        query = select(row).where(*conditions).order_by(row.id)
        with self._reading() as connection:
            return [_visits.extent(connection, _run_of(values)) for values in connection.execute(query).all()]

    def newest_series(self, target_id: int) -> int:
        """The highest series of a target's runs; 0 where it has none."""
        row = schema.ProfilingRun
        with self._reading() as connection:
            return connection.scalar(select(func.max(row.series)).where(row.target_id == target_id)) or 0

    def reference_ms(self, target_id: int) -> float | None:
        """The undisturbed time of the reference workload on a target: the least of its runs'."""
        row = schema.ProfilingRun
        with self._reading() as connection:
            return connection.scalar(select(func.min(row.reference_ms)).where(row.target_id == target_id))

    # Visits in

    def add_visits(
        self,
        run_id: int,
        items: Sequence[tuple[int, Visit]],
        *,
        network: bool = False,
        provenance: str = Provenance.MEASURED,
        series: int | None = None,
    ) -> None:
        """Store visits, all or none: (id of the operator, or of the network; visit).

        They belong to the run's series, unless another one is named: a run may go on with operators of several.
        """
        rows = [(id_, _visits.visit_values(visit)) for id_, visit in items]
        self._insert(run_id, rows, Provenance(provenance), network, series)

    def add_failure(self, run_id: int, id: int, round: int, reason: str, *, network: bool = False) -> None:
        """Store that an operator (or a network) could not be measured."""
        self._insert(run_id, [(id, _visits.failure_values(round, reason))], Provenance.MEASURED, network)

    def add_values(
        self,
        run_id: int,
        items: Sequence[tuple[int, float]],
        provenance: str,
        *,
        flags: Mapping[int, Sequence[str]] | None = None,
        once: bool = False,
    ) -> set[int]:
        """Store latencies in ms that come without samples, all or none: (id of the operator; latency).

        Args:
            run_id: the run that they belong to.
            items: (id of the operator; latency).
            provenance: imported or predicted.
            flags: by operator; one that is not there has none.
            once: leave out what the run's target has already, operator, latency and provenance, whoever stored it and
                however recently.

        Returns:
            The operators whose latency was stored.
        """
        by_id = flags or {}
        rows = [(id_, _visits.value_values(latency_ms, by_id.get(id_, ()))) for id_, latency_ms in items]
        with self._writing() as connection:
            if once:
                known = _visits.locked_values(connection, run_id, Provenance(provenance))
                rows = [(id_, values) for id_, values in rows if (id_, values["latency_ms"]) not in known]
            if rows:
                _visits.insert_rows(connection, run_id, rows, provenance=Provenance(provenance), network=False)
        return {id_ for id_, _ in rows}

    def _insert(
        self,
        run_id: int,
        rows: Sequence[tuple[int, Mapping[str, Any]]],
        provenance: Provenance,
        network: bool,
        series: int | None = None,
    ) -> None:
        if rows:
            with self._writing() as connection:
                _visits.insert_rows(connection, run_id, rows, provenance=provenance, network=network, series=series)

    # Visits out

    def visit_ratios(
        self,
        target_id: int,
        *,
        run_id: int | None = None,
        image: ImageSize | None = None,
        batch: int | None = None,
        before: datetime | None = None,
        exclude_run: int | None = None,
    ) -> dict[OpSpec, SpecSeries]:
        """Per operator its newest series of the best provenance, failures left out."""
        row = schema.Measurement
        conditions: list[ColumnElement[bool]] = [row.target_id == target_id, *_image_is(image, batch)]
        if run_id is not None:
            conditions.append(row.run_id == run_id)
        if exclude_run is not None:
            conditions.append(row.run_id != exclude_run)
        if before is not None:
            conditions.append(row.created_at < before)
        with self._reading() as connection:
            return _visits.spec_series(connection, conditions)

    def one(self, target_id: int, spec: OpSpec) -> SpecSeries | None:
        """What is stored of one operator on one target."""
        with self._reading() as connection:
            return _visits.one_series(connection, target_id, spec)

    def failures(self, target_id: int, run_id: int | None = None) -> dict[OpSpec, str]:
        """Why operators could not be measured: those whose last row, of the run or of all, is a failure."""
        with self._reading() as connection:
            return _visits.failures(connection, target_id, run_id)

    def raw_measurements(self, target_id: int) -> Iterator[RawMeasurement]:
        """Every row of a target with its samples, in the order in which they were stored."""
        return _visits.pages(lambda after: self._raw_page(target_id, after))

    def _raw_page(self, target_id: int, after: int) -> list[tuple[int, RawMeasurement]]:
        with self._reading() as connection:
            return _visits.raw_page(connection, target_id, after)

    def query(
        self,
        *,
        device: str | None = None,
        backend: str | None = None,
        op: str | None = None,
        s: int | None = None,
        chi_in: int | None = None,
        chi_out: int | None = None,
        c_in: int | None = None,
        c_out: int | None = None,
        stride: int | None = None,
        image: ImageSize | None = None,
        provenance: str | None = None,
        limit: int | None = None,
    ) -> list[LatencyRow]:
        """Latencies of all targets that match, in ms; each operator's best provenance and newest series.

        A measured latency is its ratio × the target's undisturbed reference time; where no run stored that time yet,
        the plain median.
        """
        row = schema.OpSpec
        wanted = {
            row.op: op,
            row.s: s,
            row.chi_in: chi_in,
            row.chi_out: chi_out,
            row.c_in: c_in,
            row.c_out: c_out,
            row.stride: stride,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        conditions += _image_is(image, None)
        if provenance is not None:
            conditions.append(schema.Measurement.provenance == Provenance(provenance))
        rows: list[LatencyRow] = []
        for target in self.targets(device, backend):
            if limit is not None and len(rows) >= limit:
                break
            with self._reading() as connection:
                series = _visits.spec_series(connection, [schema.Measurement.target_id == target.id, *conditions])
            rows += [_latency_of(target, spec, series[spec]) for spec in sorted(series)]
        return rows[:limit]

    # Networks

    def ensure_network(
        self,
        space: str,
        space_settings: Mapping[str, Any],
        architecture: Mapping[str, Any],
        image: ImageSize,
        batch: int = 1,
    ) -> int:
        """The id of the network, which is stored where it is not yet."""
        values = {
            "space": space,
            "space_settings": dict(space_settings),
            "architecture": dict(architecture),
            "digest": _networks.network_digest(space_settings, architecture),
            "image_height": image.height,
            "image_width": image.width,
            "batch": batch,
        }
        with self._reading() as connection:
            found = _networks.network_id(connection, values)
        if found is not None:
            return found
        with self._writing() as connection:
            insert_missing(connection, schema.Network, [values])
            found = _networks.network_id(connection, values)
        assert found is not None
        return found

    def networks(self, ids: Iterable[int]) -> dict[int, NetworkRow]:
        """Networks by id."""
        with self._reading() as connection:
            return _networks.load_networks(connection, ids)

    def network_visits(self, target_id: int, *, run_id: int | None = None) -> dict[int, SpecSeries]:
        """As ``visit_ratios``, of networks."""
        row = schema.NetworkMeasurement
        conditions: list[ColumnElement[bool]] = [row.target_id == target_id]
        if run_id is not None:
            conditions.append(row.run_id == run_id)
        with self._reading() as connection:
            return _visits.network_series(connection, conditions)

    def flag_counts(self, run_id: int) -> FlagCounts:
        """How many visits of a run, to operators and to networks, carry each flag, and how many are not clean."""
        counts: Counter[str] = Counter()
        unclean = 0
        with self._reading() as connection:
            for row in (schema.Measurement, schema.NetworkMeasurement):
                for flags, clean in connection.execute(select(row.flags, row.clean).where(row.run_id == run_id)):
                    counts.update(flags)
                    unclean += not clean
        return FlagCounts(by_flag=dict(sorted(counts.items())), unclean=unclean)

    # Calibrations

    def add_calibration(self, row: CalibrationRow) -> int:
        """Store a calibration as the next version; its own ``version`` is not looked at."""
        with self._writing() as connection:
            return _networks.insert_calibration(connection, row)

    def calibration(
        self, target_id: int, space: str, space_digest: str, image: ImageSize, batch: int = 1
    ) -> CalibrationRow | None:
        """The newest calibration, if there is one."""
        with self._reading() as connection:
            return _networks.newest_calibration(connection, target_id, space, space_digest, image, batch)


def _image_is(image: ImageSize | None, batch: int | None) -> list[ColumnElement[bool]]:
    row = schema.OpSpec
    conditions: list[ColumnElement[bool]] = []
    if image is not None:
        conditions += [row.image_height == image.height, row.image_width == image.width]
    if batch is not None:
        conditions.append(row.batch == batch)
    return conditions


def _latency_of(row: TargetRow, spec: OpSpec, series: SpecSeries) -> LatencyRow:
    visits, unit_ms = series.values(row.reference_ms)
    latency = estimate_of(visits).scaled(unit_ms)
    return LatencyRow(
        device=row.target.device,
        backend=row.target.backend,
        runtime_version=row.target.runtime_version,
        precision=row.target.precision,
        settings=row.target.settings,
        spec=spec,
        latency_ms=latency.value,
        rel_ci=latency.rel_ci if latency.visits > 1 else None,
        visits=latency.visits,
        provenance=series.provenance,
        left_out=latency.left_out,
        flagged=latency.flagged,
    )


def _run_of(values: Any) -> RunRow:
    return RunRow(
        id=values.id,
        target_id=values.target_id,
        kind=values.kind.value,
        series=values.series,
        status=values.status.value,
        reason=values.reason,
        plan=values.plan,
        environment=values.environment,
        reference_ms=values.reference_ms,
        started_at=values.started_at,
        finished_at=values.finished_at,
        heartbeat_at=values.heartbeat_at,
    )
