"""The tables. Typed models only: how they are read and written is the store's business. No torch here."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

REVISION_PREFIX = "latency_db_"
"""Every revision of ours begins like this; a revision that does not belongs to another program."""
REVISIONS = ("latency_db_0001", "latency_db_0002", "latency_db_0003", "latency_db_0004")
"""Every schema there has been, oldest first."""
NEWEST_REVISION = REVISIONS[-1]

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class RunKind(enum.StrEnum):
    """What a run was for."""

    PROFILE = "profile"
    VALIDATE = "validate"
    IMPORT = "import"
    PREDICT = "predict"


class RunStatus(enum.StrEnum):
    """How a run stands. One that was killed stays ``running`` with an old heartbeat."""

    RUNNING = "running"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"


class SearchStatus(enum.StrEnum):
    """How a search stands. One that was killed stays ``running``."""

    RUNNING = "running"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class NetworkRole(enum.StrEnum):
    """Which of the two networks that a search derives."""

    TEACHER = "teacher"
    STUDENT = "student"


class Provenance(enum.StrEnum):
    """Where a latency comes from, best first."""

    MEASURED = "measured"
    IMPORTED = "imported"
    PREDICTED = "predicted"

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(Provenance).index(self)


class MeasurementStatus(enum.StrEnum):
    """Whether there is a latency."""

    OK = "ok"
    FAILED = "failed"


class TermKind(enum.StrEnum):
    """What a term of a calibration applies to."""

    GLOBAL = "global"
    BOUNDARY = "boundary"
    OP = "op"
    PAIR = "pair"


def utc(moment: datetime) -> datetime:
    """A moment as a driver gave it, aware and in UTC: SQLite forgets the zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From whatever the driver gave."""
        return None if value is None else utc(value)


def _choice(kind: type[enum.StrEnum], name: str) -> Enum:
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        float: Double(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        RunKind: _choice(RunKind, "kind"),
        RunStatus: _choice(RunStatus, "status"),
        Provenance: _choice(Provenance, "provenance"),
        MeasurementStatus: _choice(MeasurementStatus, "status"),
        TermKind: _choice(TermKind, "term"),
        SearchStatus: _choice(SearchStatus, "status"),
        NetworkRole: _choice(NetworkRole, "role"),
    }


class Meta(Base):
    """One row about the database itself."""

    __tablename__ = "meta"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    written_by_version: Mapped[str] = mapped_column(String(64))


class Device(Base):
    """The hardware."""

    __tablename__ = "device"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(200), unique=True)
    name: Mapped[str] = mapped_column(Text)


class Target(Base):
    """What a latency is of."""

    __tablename__ = "target"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"), index=True)
    backend: Mapped[str] = mapped_column(String(100))
    runtime: Mapped[str] = mapped_column(String(200))
    runtime_version: Mapped[str] = mapped_column(String(200))
    precision: Mapped[str] = mapped_column(String(50))
    settings: Mapped[dict[str, Any]]
    fingerprint: Mapped[str] = mapped_column(String(200))
    environment: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class OpSpec(Base):
    """One operator instance, of any target. χ stands beside the channels only to be queried."""

    __tablename__ = "op_spec"
    __table_args__ = (
        UniqueConstraint(
            *("op", "s", "c_in", "c_out", "stride", "image_height", "image_width", "batch", "branches"),
            name="uq_op_spec_identity",
        ),
        Index("ix_op_spec_image", "image_height", "image_width", "batch"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    op: Mapped[str] = mapped_column(String(100))
    s: Mapped[int]
    c_in: Mapped[int]
    c_out: Mapped[int]
    stride: Mapped[int]
    image_height: Mapped[int]
    image_width: Mapped[int]
    batch: Mapped[int]
    branches: Mapped[int]
    chi_in: Mapped[int | None]
    chi_out: Mapped[int | None]


class ProfilingRun(Base):
    """One run of a program that wrote latencies."""

    __tablename__ = "profiling_run"

    id: Mapped[int] = mapped_column(primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("target.id"), index=True)
    kind: Mapped[RunKind]
    series: Mapped[int]
    status: Mapped[RunStatus]
    reason: Mapped[str | None] = mapped_column(Text)
    plan: Mapped[dict[str, Any]]
    environment: Mapped[dict[str, Any]]
    reference_ms: Mapped[float | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime]


class VisitColumns:
    """What one visit of the timing loop leaves, whatever it visited.

    The samples are little-endian float64. ``ratio`` and ``latency_ms`` are derived from them and stand beside them so
    that a table loads without reading samples; an imported or predicted value is ``latency_ms`` alone. ``observed`` is
    what was seen of the machine meanwhile, null where nobody looked; ``clean`` is derived from it and the flags, and
    false where the visit does not count.
    """

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("profiling_run.id"))
    target_id: Mapped[int] = mapped_column(ForeignKey("target.id"))
    series: Mapped[int]
    round: Mapped[int]
    provenance: Mapped[Provenance]
    status: Mapped[MeasurementStatus]
    reason: Mapped[str | None] = mapped_column(Text)
    ratio: Mapped[float | None]
    latency_ms: Mapped[float | None]
    repeats: Mapped[int | None]
    warmup: Mapped[int | None]
    flags: Mapped[list[str]]
    elapsed_ms: Mapped[bytes | None] = mapped_column(LargeBinary)
    reference_ms: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    observed: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    clean: Mapped[bool] = mapped_column(server_default=true())


_LATENCY_OR_REASON = "(status = 'ok' AND latency_ms IS NOT NULL) OR (status = 'failed' AND reason IS NOT NULL)"


class Measurement(VisitColumns, Base):
    """One visit to an operator. Immutable."""

    __tablename__ = "measurement"
    __table_args__ = (
        UniqueConstraint("run_id", "spec_id", "round"),
        CheckConstraint(_LATENCY_OR_REASON, name="latency_or_reason"),
        Index("ix_measurement_table", "target_id", "spec_id", "status", "provenance", "series"),
    )

    spec_id: Mapped[int] = mapped_column(ForeignKey("op_spec.id"))


class Network(Base):
    """A discrete network of a space at one image size."""

    __tablename__ = "network"
    __table_args__ = (
        UniqueConstraint(
            *("space", "digest", "image_height", "image_width", "batch"),
            name="uq_network_identity",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    space: Mapped[str] = mapped_column(String(100))
    space_settings: Mapped[dict[str, Any]]
    architecture: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    image_height: Mapped[int]
    image_width: Mapped[int]
    batch: Mapped[int]


class NetworkMeasurement(VisitColumns, Base):
    """One visit to a network. Immutable."""

    __tablename__ = "network_measurement"
    __table_args__ = (
        UniqueConstraint("run_id", "network_id", "round"),
        CheckConstraint(_LATENCY_OR_REASON, name="latency_or_reason"),
        Index("ix_network_measurement_table", "target_id", "network_id", "status", "provenance", "series"),
    )

    network_id: Mapped[int] = mapped_column(ForeignKey("network.id"))


class Calibration(Base):
    """One version of what turns a sum over operators into the latency of a network."""

    __tablename__ = "calibration"
    __table_args__ = (
        UniqueConstraint(
            *("target_id", "space", "space_digest", "image_height", "image_width", "batch", "version"),
            name="uq_calibration_identity",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("target.id"))
    space: Mapped[str] = mapped_column(String(100))
    space_digest: Mapped[str] = mapped_column(String(64))
    image_height: Mapped[int]
    image_width: Mapped[int]
    batch: Mapped[int]
    version: Mapped[int]
    created_at: Mapped[datetime]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("profiling_run.id"))
    method: Mapped[str] = mapped_column(Text)
    cv_error: Mapped[float]
    networks: Mapped[int]


class CalibrationTerm(Base):
    """One coefficient of a calibration."""

    __tablename__ = "calibration_term"

    id: Mapped[int] = mapped_column(primary_key=True)
    calibration_id: Mapped[int] = mapped_column(ForeignKey("calibration.id"), index=True)
    term: Mapped[TermKind]
    op: Mapped[str | None] = mapped_column(String(100))
    next_op: Mapped[str | None] = mapped_column(String(100))
    stride: Mapped[int | None]
    next_stride: Mapped[int | None]
    s: Mapped[int | None]
    value: Mapped[float]


class Search(Base):
    """One search for architectures. A folder and the moment of its first sitting tell it from others.

    ``target_id`` is null where a shipped model gave the latencies; ``device`` and ``target_line`` say in any case what
    they were of.
    """

    __tablename__ = "search"
    __table_args__ = (UniqueConstraint("folder", "started_at", name="uq_search_identity"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str] = mapped_column(Text)
    space: Mapped[str] = mapped_column(String(100))
    space_settings: Mapped[dict[str, Any]]
    device: Mapped[str] = mapped_column(String(200), index=True)
    target_id: Mapped[int | None] = mapped_column(ForeignKey("target.id"))
    target_line: Mapped[str] = mapped_column(Text)
    image_height: Mapped[int]
    image_width: Mapped[int]
    batch: Mapped[int]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[SearchStatus]
    reason: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    epochs: Mapped[int]


class DerivedArchitecture(Base):
    """A network that a search derived: one teacher, one student. ``branches`` reads ``16_32``."""

    __tablename__ = "derived_architecture"
    __table_args__ = (UniqueConstraint("search_id", "role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("search.id"))
    role: Mapped[NetworkRole]
    network_id: Mapped[int] = mapped_column(ForeignKey("network.id"), index=True)
    branches: Mapped[str] = mapped_column(Text)
    how: Mapped[str] = mapped_column(Text)
    latency_ms: Mapped[float]
    miou: Mapped[float | None]
    created_at: Mapped[datetime]
