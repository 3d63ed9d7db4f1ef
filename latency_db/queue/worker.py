"""The machine with the device: does the device's jobs, one after the other, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latency_db.errors import JobError, LatencyDbError, StorageError
from latency_db.queue.connection import POOL_TIMEOUT_S, connection_arguments, translated, where
from latency_db.queue.device_lock import DeviceLock
from latency_db.queue.jobs import TASK, JobQueue, queue_name
from latency_db.queue.task import Cancelled, GivenBack, JobStopped, is_lost_connection, run_job
from latency_db.recording import Report
from latency_db.store import Store

if TYPE_CHECKING:
    from procrastinate import App, JobContext

STALLED_S = 30.0
"""A worker that gave no sign for so long is gone, and the job that it held waits again."""
_SIGNS_PER_STALL = 3
_LONGEST_POLL_S = 5.0
_FORGET_WORKERS_S = 86400.0


@dataclass(kw_only=True)
class Worker:
    """Serves one device.

    The device's lock lets one worker at a time do so; a second one waits for it. procrastinate hands out the
    jobs, which have a lock of their own besides: two of a device never run at once, whatever becomes of a worker. A
    profile runs in a thread of its own, so that signs of life go on beside it.

    Attributes:
        queue: the open queue.
        device: slug of the device.
        drain: end when no job is left.
        stalled_s: as ``STALLED_S``.
        say: takes lines for people.
        report: takes the loop's progress.
    """

    queue: JobQueue
    device: str
    drain: bool = False
    stalled_s: float = STALLED_S
    say: Callable[[str], None]
    report: Report
    _stopping: bool = field(default=False, init=False)
    _lost: bool = field(default=False, init=False)
    _current: int | None = field(default=None, init=False)
    _working: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def interval_s(self) -> float:
        """Between two signs of life, and between two looks at the queue."""
        return min(self.stalled_s / _SIGNS_PER_STALL, _LONGEST_POLL_S)

    def serve(self) -> None:
        """Do jobs until SIGTERM, Ctrl-C or, draining, the last one. A job that is going on then is given back.

        Raises:
            JobError: draining, and another worker serves the device.
            StorageError: the database is gone; the job is not lost.
        """
        with DeviceLock(self.queue.url, self.device) as lock:
            self._wait_for(lock)
            self.say(f"serving device {self.device!r}")
            asyncio.run(self._serve(lock))

    def _wait_for(self, lock: DeviceLock) -> None:
        if lock.take():
            return
        if self.drain:
            raise JobError(f"another worker serves device {self.device!r}")
        self.say(f"another worker serves device {self.device!r}; this one takes over when that one ends")
        while not lock.take():
            time.sleep(self.interval_s)

    async def _serve(self, lock: DeviceLock) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        app = self._app(lock)
        with translated(self.queue.url):
            async with app.open_async():
                upkeep = asyncio.create_task(self._keep_up(app, lock))
                try:
                    await self._work(app)
                finally:
                    upkeep.cancel()
                    # Whatever it had to say it has left in self._lost.
                    await asyncio.wait([upkeep])

    def _stop(self) -> None:
        """At the first signal. A second one is not caught."""
        self._stopping = True
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        self.say("stopping: a job that is going on is given back after its visit")
        if self._working is not None:
            self._working.cancel()

    async def _work(self, app: App) -> None:
        from procrastinate.exceptions import ConnectorException

        while not self._stopping:
            self._working = asyncio.create_task(self._work_through(app))
            try:
                await self._working
            except asyncio.CancelledError:
                if not (self._stopping or self._lost):
                    raise
            except ConnectorException:
                if not self._lost:
                    raise
            if self._lost:
                raise StorageError(
                    f"{where(self.queue.url)}: the connection was lost; no job is",
                    f"latency-db worker --device {self.device} goes on",
                )
            if self.drain and not self._stopping:
                if all(job.is_over for job in self.queue.jobs(self.device)):
                    return
                # Only a dead worker can hold what is left, and it is not long dead.
                await asyncio.sleep(self.interval_s)

    async def _work_through(self, app: App) -> None:
        await self._retry_stalled(app)
        await app.run_worker_async(
            queues=[queue_name(self.device)],
            name=f"latency-db/{self.device}",
            concurrency=1,
            wait=not self.drain,
            install_signal_handlers=False,
            shutdown_graceful_timeout=0,
            fetch_job_polling_interval=self.interval_s,
            abort_job_polling_interval=self.interval_s,
            update_heartbeat_interval=self.interval_s,
            stalled_worker_timeout=_FORGET_WORKERS_S,
        )

    async def _keep_up(self, app: App, lock: DeviceLock) -> None:
        """Now and then: is the lock still there, and has a dead worker left a job?"""
        from procrastinate.exceptions import ConnectorException

        while True:
            await asyncio.sleep(self.interval_s)
            try:
                held = await asyncio.to_thread(lock.is_held)
                if held:
                    await self._retry_stalled(app)
            except ConnectorException:
                held = False
            if not held:
                self._lost = True
                if self._working is not None:
                    self._working.cancel()
                return

    async def _retry_stalled(self, app: App) -> None:
        from procrastinate.jobs import Status

        stalled = await app.job_manager.get_stalled_jobs(
            queue=queue_name(self.device), task_name=TASK, seconds_since_heartbeat=self.stalled_s
        )
        for job in stalled:
            # One that this worker does itself is alive, however long something kept the signs of it back.
            if job.id is None or job.id == self._current:
                continue
            (known,) = await app.job_manager.list_jobs_async(id=job.id)
            if known.abort_requested:
                await app.job_manager.finish_job(job, Status.ABORTED, delete_job=False)
            else:
                self.say(f"job {job.id}: its worker is gone; it waits again")
                await app.job_manager.retry_job(job)

    # What procrastinate calls.

    def _app(self, lock: DeviceLock) -> App:
        from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
        from procrastinate.exceptions import JobAborted
        from procrastinate.manager import JobManager

        class GiveBack(BaseRetryStrategy):
            """procrastinate asks for a job that it aborted because the worker ends, and for one that failed."""

            def get_retry_decision(self, *, exception: BaseException, job: object) -> RetryDecision | None:
                """Again for what says nothing of the job itself."""
                again = isinstance(exception, JobAborted) or is_lost_connection(exception)
                return RetryDecision() if again else None

        class OwnJobs(JobManager):
            """Leaves a job alone that may be another worker's by now, because the device's lock was lost."""

            async def finish_job(self, *args: Any, **kwargs: Any) -> None:
                """As procrastinate's."""
                if await asyncio.to_thread(lock.is_held):
                    await super().finish_job(*args, **kwargs)

            async def retry_job(self, *args: Any, **kwargs: Any) -> None:
                """As procrastinate's."""
                if await asyncio.to_thread(lock.is_held):
                    await super().retry_job(*args, **kwargs)

        connector = PsycopgConnector(
            **connection_arguments(self.queue.url), min_size=1, max_size=4, timeout=POOL_TIMEOUT_S
        )
        app = App(connector=connector)
        app.job_manager = OwnJobs(connector)

        @app.task(name=TASK, pass_context=True, retry=GiveBack())
        def profile(context: JobContext, *, request: dict[str, Any]) -> None:
            try:
                self._do(context, request, lock)
            except JobStopped as stopped:
                raise JobAborted from stopped

        return app

    def _do(self, context: JobContext, request: dict[str, Any], lock: DeviceLock) -> None:
        from procrastinate.job_context import AbortReason

        job_id = context.job.id
        assert job_id is not None

        def stop() -> JobStopped | None:
            reason = context.abort_reason()
            if reason is None:
                return None
            return Cancelled() if reason is AbortReason.USER_REQUEST else GivenBack()

        with self._doing(job_id):
            if not lock.is_held():
                raise GivenBack
            self.say(f"job {job_id}: begins")
            with Store.open(self.queue.url.render_as_string(hide_password=False)) as store:
                line = run_job(store, job_id, request, self.report, stop)
            self.queue.record(job_id, line)
            self.say(f"job {job_id}: {line}")

    @contextmanager
    def _doing(self, job_id: int) -> Iterator[None]:
        """Whatever ends the job leaves a line, unless somebody goes on with it."""
        self._current = job_id
        try:
            yield
        except GivenBack:
            self.say(f"job {job_id}: given back")
            raise
        except Cancelled:
            self.queue.record(job_id, "cancelled while it was running; what was measured is stored")
            self.say(f"job {job_id}: cancelled")
            raise
        except BaseException as error:
            if not is_lost_connection(error):
                line = str(error) if _is_for_people(error) else f"{type(error).__name__}: {error}"
                self.queue.record(job_id, line)
                self.say(f"job {job_id}: failed: {line}")
            raise
        finally:
            self._current = None


def _is_for_people(error: BaseException) -> bool:
    from backends.errors import BackendError

    return isinstance(error, (LatencyDbError, BackendError))


def quiet_libraries() -> None:
    """What they would log is said in lines of our own, or raised."""
    for name in ("procrastinate", "psycopg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
