"""Jobs in and out of the queue. Every method is one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL

from latency_db.errors import JobError, NotFoundError
from latency_db.queue.connection import POOL_TIMEOUT_S, connection_arguments, prepare, queue_url, translated
from latency_db.queue.device_lock import CLASS, number_of

if TYPE_CHECKING:
    from procrastinate import App
    from procrastinate.jobs import Job

    from latency_db.request import ProfileRequest

TASK = "latency_db.profile"
STATUSES = {
    "todo": "waiting",
    "doing": "running",
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "aborting": "running",
    "aborted": "cancelled",
}
"""procrastinate's words, and ours."""
UNFINISHED = ("waiting", "running")
LONGEST_NAME = 40
"""Bytes that PostgreSQL leaves a queue's name in that of the channel by which workers hear of new jobs."""


def queue_name(device: str) -> str:
    """The queue of a device: its slug; a long one is cut, and told from its likes by a digest."""
    if len(device.encode()) <= LONGEST_NAME:
        return device
    digest = hashlib.sha256(device.encode()).hexdigest()[:8]
    return f"{device.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One job.

    Attributes:
        id: of the job.
        device: the slug of the device that it is for.
        status: one of the values of ``STATUSES``.
        request: what it measures, as JSON.
        attempts: how often a worker gave it back, or ended it.
        cancelling: it is running, and will stop.
        served: a worker serves the device now.
        line: what it came to, once it is over.
    """

    id: int
    device: str
    status: str
    request: Mapping[str, Any]
    attempts: int
    cancelling: bool
    served: bool
    line: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in UNFINISHED


class JobQueue:
    """The queue's door for everything but doing jobs."""

    def __init__(self, url: URL, app: App) -> None:
        self.url, self.app = url, app

    @classmethod
    def open(cls, url: str | None) -> JobQueue:
        """Open the queue of a database, which is made where it is missing.

        Raises:
            InputError: the database is no PostgreSQL database.
            StorageError: it cannot be reached, or what the queue needs is not installed.
        """
        parsed = queue_url(url)
        from procrastinate import App, SyncPsycopgConnector

        prepare(parsed)
        connector = SyncPsycopgConnector(**connection_arguments(parsed), min_size=1, max_size=2, timeout=POOL_TIMEOUT_S)
        with translated(parsed):
            return cls(parsed, App(connector=connector).open())

    def close(self) -> None:
        """Give the connections back."""
        self.app.close()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, request: ProfileRequest) -> int:
        """Queue it for its device; returns the job's id.

        Raises:
            JobError: it names no device.
        """
        if not request.device:
            raise JobError("a job needs a device", "--device SLUG")
        name = queue_name(request.device)
        with translated(self.url):
            deferrer = self.app.configure_task(TASK, queue=name, lock=f"{TASK}/{name}")
            return deferrer.defer(request=request.model_dump(mode="json"))

    def jobs(self, device: str | None = None) -> list[QueuedJob]:
        """Every job, or those of one device, in the order in which they were queued."""
        with translated(self.url):
            queue = None if device is None else queue_name(device)
            return self._described(self.app.job_manager.list_jobs(task=TASK, queue=queue))

    def job(self, job_id: int) -> QueuedJob:
        """One of them.

        Raises:
            NotFoundError: there is none of that id.
        """
        with translated(self.url):
            found = self._described(self.app.job_manager.list_jobs(task=TASK, id=job_id))
        if not found:
            raise NotFoundError(f"there is no job {job_id}", "latency-db jobs lists them")
        return found[0]

    def cancel(self, job_id: int) -> QueuedJob:
        """Take a waiting job out of the queue; ask the worker of a running one to stop. Returns how it stands then.

        Raises:
            NotFoundError: there is none of that id.
            JobError: it is over already.
        """
        job = self.job(job_id)
        with translated(self.url):
            done = self.app.job_manager.cancel_job_by_id(job_id, abort=True)
        if not done:
            raise JobError(f"job {job_id} is over: {job.status}")
        return self.job(job_id)

    def is_served(self, device: str) -> bool:
        """Whether a worker serves the device now."""
        with translated(self.url):
            return number_of(device) in self._served()

    def record(self, job_id: int, line: str) -> None:
        """Keep what a job came to."""
        with translated(self.url):
            self.app.connector.get_sync_connector().execute_query(
                "INSERT INTO outcome (job_id, line) VALUES (%(job_id)s, %(line)s) "
                "ON CONFLICT (job_id) DO UPDATE SET line = excluded.line, at = now()",
                job_id=job_id,
                line=" ".join(line.split()),
            )

    def _described(self, jobs: Iterable[Job]) -> list[QueuedJob]:
        rows = self.app.connector.get_sync_connector().execute_query_all("SELECT job_id, line FROM outcome")
        lines = {row["job_id"]: row["line"] for row in rows}
        served = self._served()
        found = []
        for job in jobs:
            request = job.task_kwargs["request"]
            assert isinstance(request, dict) and job.id is not None and job.status is not None
            device, status = str(request["device"]), STATUSES[job.status]
            found.append(
                QueuedJob(
                    id=job.id,
                    device=device,
                    status=status,
                    request=request,
                    attempts=job.attempts,
                    cancelling=job.abort_requested and status == "running",
                    served=number_of(device) in served,
                    line=lines.get(job.id) if status not in UNFINISHED else None,
                )
            )
        return found

    def _served(self) -> set[int]:
        rows = self.app.connector.get_sync_connector().execute_query_all(
            "SELECT objid::bigint AS number FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
            "AND classid::bigint = %(class_id)s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            class_id=CLASS,
        )
        return {row["number"] for row in rows}
