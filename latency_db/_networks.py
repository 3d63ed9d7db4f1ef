"""Networks and calibrations in and out of the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from latency_db import schema
from latency_db._sql import chunks, now
from latency_db.calibration import Term
from latency_db.calibration_row import CalibrationRow
from latency_db.keys import ImageSize
from latency_db.rows import NetworkRow


def network_digest(space_settings: Mapping[str, Any], architecture: Mapping[str, Any]) -> str:
    """Identity of an architecture under the settings of its space."""
    document = {"architecture": architecture, "settings": space_settings}
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def network_id(connection: Connection, values: Mapping[str, Any]) -> int | None:
    """The id of the network with these identifying columns."""
    row = schema.Network
    identity = (row.space, row.digest, row.image_height, row.image_width, row.batch)
    query = select(row.id).where(*(column == values[column.key] for column in identity))
    return connection.execute(query).scalar()


def load_networks(connection: Connection, ids: Iterable[int]) -> dict[int, NetworkRow]:
    """Networks by id."""
    row = schema.Network
    networks = {}
    for chunk in chunks(ids):
        for values in connection.execute(select(row).where(row.id.in_(chunk))):
            networks[values.id] = NetworkRow(
                id=values.id,
                space=values.space,
                space_settings=values.space_settings,
                architecture=values.architecture,
                image=ImageSize(values.image_height, values.image_width),
                batch=values.batch,
            )
    return networks


def insert_calibration(connection: Connection, row: CalibrationRow) -> int:
    """Add the next version of a calibration."""
    # Two writers of one target count one after the other; SQLite has one writer at a time anyhow.
    connection.execute(select(schema.Target.id).where(schema.Target.id == row.target_id).with_for_update())
    identity = _identity(row.target_id, row.space, row.space_digest, row.image, row.batch)
    newest = select(func.max(schema.Calibration.version)).filter_by(**identity)
    version = (connection.execute(newest).scalar() or 0) + 1
    inserted = connection.execute(
        insert(schema.Calibration)
        .values(
            **identity,
            version=version,
            created_at=now(),
            run_id=row.run_id,
            method=row.method,
            cv_error=row.cv_error,
            networks=row.networks,
        )
        .returning(schema.Calibration.id)
    ).scalar_one()
    terms = [
        {
            "calibration_id": inserted,
            "term": schema.TermKind(term.term),
            "op": term.op,
            "next_op": term.next_op,
            "stride": term.stride,
            "next_stride": term.next_stride,
            "s": term.s,
            "value": term.value,
        }
        for term in row.terms
    ]
    if terms:
        connection.execute(insert(schema.CalibrationTerm), terms)
    return inserted


def newest_calibration(
    connection: Connection, target_id: int, space: str, space_digest: str, image: ImageSize, batch: int
) -> CalibrationRow | None:
    """The newest version of a calibration."""
    row = schema.Calibration
    identity = _identity(target_id, space, space_digest, image, batch)
    query = select(row).filter_by(**identity).order_by(row.version.desc()).limit(1)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    return CalibrationRow(
        target_id=target_id,
        space=space,
        space_digest=space_digest,
        image=image,
        batch=batch,
        method=found.method,
        cv_error=found.cv_error,
        networks=found.networks,
        run_id=found.run_id,
        version=found.version,
        terms=_terms(connection, found.id),
    )


def _terms(connection: Connection, calibration_id: int) -> tuple[Term, ...]:
    row = schema.CalibrationTerm
    query = select(row).where(row.calibration_id == calibration_id).order_by(row.id)
    return tuple(
        Term(
            term=values.term.value,
            value=values.value,
            op=values.op,
            next_op=values.next_op,
            stride=values.stride,
            next_stride=values.next_stride,
            s=values.s,
        )
        for values in connection.execute(query)
    )


def _identity(target_id: int, space: str, space_digest: str, image: ImageSize, batch: int) -> dict[str, Any]:
    return {
        "target_id": target_id,
        "space": space,
        "space_digest": space_digest,
        "image_height": image.height,
        "image_width": image.width,
        "batch": batch,
    }
