"""One job, beside the device: a profile that goes on where an earlier attempt at the same job stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.exc import DBAPIError

from backends.measure import Progress
from latency_db.errors import JobError, StorageError
from latency_db.profiling import ProfileResult
from latency_db.recording import Report
from latency_db.request import ProfileRequest
from latency_db.rows import RunExtent
from latency_db.schema import RunStatus
from latency_db.store import Store

NOTE = "job"
"""By this name a run's plan tells which job it belongs to."""


class JobStopped(Exception):
    """The job ends before its profile does: what was measured is stored."""


class GivenBack(JobStopped):
    """The worker ends: the job waits for the next one."""


class Cancelled(JobStopped):
    """Somebody took the job back."""


def run_job(
    store: Store, job_id: int, document: Mapping[str, Any], report: Report, stop: Callable[[], JobStopped | None]
) -> str:
    """Measure what the job asks for; returns what came of it in one line.

    The time budget is the job's, not the attempt's: what earlier attempts have used is gone. An attempt counts from its
    run's beginning to the last that it stored.

    Args:
        store: where the visits go.
        job_id: of the job.
        document: its request, as JSON.
        report: takes the loop's progress.
        stop: asked after every visit; what it gives is raised.

    Raises:
        JobStopped: what ``stop`` gave.
        JobError: not every operator could be measured.
        LatencyDbError: as ``ProfileRequest.run``; so BackendError.
    """

    def told(progress: Progress) -> None:
        report(progress)
        _raise(stop())

    _raise(stop())
    request = ProfileRequest.read(document)
    runs = store.run_extents({NOTE: job_id})
    # An attempt that had measured all and was cut short then has left nothing but a calibration: begin no new series.
    measured = bool(runs) and runs[-1].status == RunStatus.COMPLETED
    result = request.run(
        request.campaign(store, told),
        spent_s=spent_s(runs),
        remeasure=request.remeasure and not measured,
        noted={NOTE: job_id},
    )
    return _line(result)


def spent_s(runs: Sequence[RunExtent]) -> float:
    """Seconds that runs took, as far as what they have stored tells."""
    return sum((run.last_at - run.started_at).total_seconds() for run in runs)


def is_lost_connection(error: BaseException) -> bool:
    """Whether it says that the database went away, and nothing of the job."""
    cause = error.__cause__
    if not (isinstance(error, StorageError) and isinstance(cause, DBAPIError)):
        return False
    # A connection that breaks or is refused comes without a code; a server that stops sends one of the class 57P.
    sqlstate = getattr(cause.orig, "sqlstate", None)
    return cause.connection_invalidated or sqlstate is None or sqlstate.startswith(("08", "57P"))


def _raise(stopped: JobStopped | None) -> None:
    if stopped is not None:
        raise stopped


def _line(result: ProfileResult) -> str:
    if result.failed or result.measured == 0:
        first = next(iter(result.failed.values()), "there was no time for any")
        raise JobError(
            f"{result.specs - result.measured} of {result.specs} operators not measured: {first}; the others are stored"
        )
    stopped = "nothing was left to do" if result.outcome is None else f"stopped: {result.outcome.reason}"
    return f"{result.measured} of {result.specs} operators measured, {result.wide} wider than asked for; {stopped}"
