"""Small tools that the store's queries share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute

from latency_db import schema
from latency_db.keys import ImageSize, OpSpec

T = TypeVar("T")

CHUNK = 1000
"""Values in one IN list: far below what any SQLite takes."""

SPEC_COLUMNS: tuple[InstrumentedAttribute[Any], ...] = (
    schema.OpSpec.op,
    schema.OpSpec.s,
    schema.OpSpec.c_in,
    schema.OpSpec.c_out,
    schema.OpSpec.stride,
    schema.OpSpec.image_height,
    schema.OpSpec.image_width,
    schema.OpSpec.batch,
    schema.OpSpec.branches,
)
"""What identifies an operator, in the order in which ``spec_of`` takes it."""


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, ``CHUNK`` at a time."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def insert_missing(connection: Connection, model: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those rows that break no unique constraint: another process may have been quicker."""
    if not rows:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(model).on_conflict_do_nothing(), list(rows))


def spec_values(spec: OpSpec) -> dict[str, Any]:
    """The row of an operator."""
    return {
        "op": spec.op,
        "s": spec.s,
        "c_in": spec.c_in,
        "c_out": spec.c_out,
        "stride": spec.stride,
        "image_height": spec.image.height,
        "image_width": spec.image.width,
        "batch": spec.batch,
        "branches": spec.branches,
        "chi_in": spec.chi_in,
        "chi_out": spec.chi_out,
    }


def spec_is(spec: OpSpec) -> list[ColumnElement[bool]]:
    """The conditions under which a row of ``op_spec`` is this operator."""
    values = spec_values(spec)
    return [column == values[column.key] for column in SPEC_COLUMNS]


def spec_of(values: Any) -> OpSpec:
    """The operator of ``SPEC_COLUMNS``."""
    op, s, c_in, c_out, stride, height, width, batch, branches = values
    return OpSpec(
        op=op,
        s=s,
        c_in=c_in,
        c_out=c_out,
        stride=stride,
        image=ImageSize(height, width),
        batch=batch,
        branches=branches,
    )
