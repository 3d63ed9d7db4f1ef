"""Searches and what they derived, in and out of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from latency_db import schema
from latency_db._sql import insert_missing, now
from latency_db.errors import InputError, NotFoundError
from latency_db.keys import ImageSize
from latency_db.rows import DerivedRow, SearchRow
from latency_db.schema import NetworkRole, SearchStatus


class SearchMethods:
    """The store's methods about searches. As all of them: each is one transaction."""

    def _reading(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[Connection]:
        raise NotImplementedError

    def ensure_network(
        self,
        space: str,
        space_settings: Mapping[str, Any],
        architecture: Mapping[str, Any],
        image: ImageSize,
        batch: int = 1,
    ) -> int:
        """See ``Store``."""
        raise NotImplementedError

    def start_search(
        self,
        *,
        folder: str,
        space: str,
        space_settings: Mapping[str, Any],
        device: str,
        target_id: int | None,
        target_line: str,
        image: ImageSize,
        batch: int,
        config: Mapping[str, Any],
        seed: int,
        started_at: datetime | None = None,
    ) -> int:
        """Begin a search, or a further sitting of it, and give its id.

        Args:
            folder: where its files are; in full, so that it means the same from everywhere.
            space: name of the space.
            space_settings: of the networks that it can derive.
            device: slug of the device whose latencies it uses.
            target_id: the target that they are of; None where a shipped model gives them.
            target_line: for people: the target, or the model, in full.
            image: image size of the latencies.
            batch: images at once of the latencies.
            config: everything that decides what it does.
            seed: of its draws.
            started_at: when its first sitting began; now, where this is the first. A search of the same folder and
                moment goes on: it is running again, with these values and the epochs that it had.
        """
        row = schema.Search
        values: dict[str, Any] = {
            "folder": folder,
            "space": space,
            "space_settings": dict(space_settings),
            "device": device,
            "target_id": target_id,
            "target_line": target_line,
            "image_height": image.height,
            "image_width": image.width,
            "batch": batch,
            "config": dict(config),
            "seed": seed,
            "status": SearchStatus.RUNNING,
            "reason": None,
            "started_at": started_at or now(),
            "finished_at": None,
        }
        with self._writing() as connection:
            insert_missing(connection, row, [{**values, "epochs": 0}])
            is_it = (row.folder == folder, row.started_at == values["started_at"])
            connection.execute(update(row).where(*is_it).values(**values))
            return connection.execute(select(row.id).where(*is_it)).scalar_one()

    def resume_search(self, search_id: int) -> None:
        """A further sitting of a search whose id is known begins.

        Raises:
            NotFoundError: there is no such search.
        """
        self._update_search(search_id, status=SearchStatus.RUNNING, reason=None, finished_at=None)

    def note_epochs(self, search_id: int, epochs: int) -> None:
        """Say how many epochs are finished.

        Raises:
            NotFoundError: there is no such search.
        """
        self._update_search(search_id, epochs=epochs)

    def finish_search(self, search_id: int, status: str, reason: str | None, epochs: int) -> None:
        """End a search, or a sitting of it; its status is one of ``SearchStatus``.

        Raises:
            NotFoundError: there is no such search.
        """
        self._update_search(search_id, status=SearchStatus(status), reason=reason, epochs=epochs, finished_at=now())

    def _update_search(self, search_id: int, **values: Any) -> None:
        with self._writing() as connection:
            done = connection.execute(update(schema.Search).where(schema.Search.id == search_id).values(**values))
            if done.rowcount == 0:
                raise NotFoundError(f"there is no search {search_id}")

    def add_derived(
        self,
        search_id: int,
        *,
        role: str,
        architecture: Mapping[str, Any],
        branches: Sequence[int],
        how: str,
        latency_ms: float,
        miou: float | None = None,
    ) -> int:
        """Store the network that a search derived, in the place of an earlier one of this role, and give its row's id.

        Args:
            search_id: the search.
            role: teacher or student.
            architecture: the network, as the JSON values of its space.
            branches: downsample rates at which its branches end.
            how: how it was derived, as in the search's result.
            latency_ms: predicted.
            miou: of the supernet as this network, in [0, 1].

        Raises:
            NotFoundError: there is no such search.
            InputError: the role is none.
        """
        if role not in list(NetworkRole):
            raise InputError(f"a search derives a teacher and a student, no {role!r}")
        search = self._search(search_id)
        network_id = self.ensure_network(search.space, search.space_settings, architecture, search.image, search.batch)
        row = schema.DerivedArchitecture
        values = {
            "search_id": search_id,
            "role": NetworkRole(role),
            "network_id": network_id,
            "branches": "_".join(map(str, branches)),
            "how": how,
            "latency_ms": float(latency_ms),
            "miou": None if miou is None else float(miou),
            "created_at": now(),
        }
        with self._writing() as connection:
            connection.execute(delete(row).where(row.search_id == search_id, row.role == NetworkRole(role)))
            return connection.execute(insert(row).values(values).returning(row.id)).scalar_one()

    def searches(self) -> list[SearchRow]:
        """Every search, in the order in which they were stored."""
        with self._reading() as connection:
            return [
                _search_of(values) for values in connection.execute(select(schema.Search).order_by(schema.Search.id))
            ]

    def _search(self, search_id: int) -> SearchRow:
        with self._reading() as connection:
            values = connection.execute(select(schema.Search).where(schema.Search.id == search_id)).one_or_none()
        if values is None:
            raise NotFoundError(f"there is no search {search_id}")
        return _search_of(values)

    def derived(self, search_id: int | None = None) -> list[DerivedRow]:
        """The networks that a search derived, or that all of them did, in the order in which they were stored."""
        row = schema.DerivedArchitecture
        query = select(row).order_by(row.id)
        if search_id is not None:
            query = query.where(row.search_id == search_id)
        with self._reading() as connection:
            return [_derived_of(values) for values in connection.execute(query)]


def _search_of(values: Any) -> SearchRow:
    return SearchRow(
        id=values.id,
        folder=values.folder,
        space=values.space,
        space_settings=values.space_settings,
        device=values.device,
        target_id=values.target_id,
        target_line=values.target_line,
        image=ImageSize(values.image_height, values.image_width),
        batch=values.batch,
        config=values.config,
        seed=values.seed,
        status=values.status.value,
        reason=values.reason,
        started_at=values.started_at,
        finished_at=values.finished_at,
        epochs=values.epochs,
    )


def _derived_of(values: Any) -> DerivedRow:
    return DerivedRow(
        id=values.id,
        search_id=values.search_id,
        role=values.role.value,
        network_id=values.network_id,
        branches=tuple(map(int, values.branches.split("_"))),
        how=values.how,
        latency_ms=values.latency_ms,
        miou=values.miou,
        created_at=values.created_at,
    )
