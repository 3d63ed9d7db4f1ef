"""``latency-db submit`` and ``latency-db jobs``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import json_option, open_store, print_json, print_table
from latency_db.cli.profile_options import profile_options, profile_request

if TYPE_CHECKING:
    from latency_db.queue.jobs import JobQueue, QueuedJob
    from latency_db.store import Store

_POLL_S = 1.0

required_device = click.option("--device", required=True, help="Device slug, as its worker has it.")


@click.command()
@profile_options(required_device)
@click.option("--wait", is_flag=True, help="Wait for the job's end; exit code 1 unless it is done.")
@json_option
@click.pass_context
def submit(ctx: click.Context, /, wait: bool, as_json: bool, **options: Any) -> None:
    """Queue a profile for the worker of a device, which may be on another machine.

    Takes what `latency-db profile` takes, and checks it as far as can be without the device. The time budget is the
    job's: an interrupted one goes on with what is left of it.
    """
    from latency_db.queue.connection import queue_url

    queue_url(ctx.find_root().params.get("db"))
    request = profile_request(**options)
    request.check()
    store, queue = _open(ctx)
    with queue:
        job = queue.job(queue.submit(request))
        if not as_json:
            click.echo(f"job {job.id}: {request.title} on {job.device}")
        if not job.served:
            click.echo(unserved(job), err=True)
        if wait:
            job = _followed(queue, job)
        if as_json:
            print_json(_document(job, store))
        elif wait:
            click.echo(f"job {job.id}: {job.status}{_colon(job.line)}")
        if wait and job.status != "done":
            ctx.exit(1)


@click.group(invoke_without_command=True)
@click.option("--device", help="Only jobs for this device.")
@json_option
@click.pass_context
def jobs(ctx: click.Context, device: str | None, as_json: bool) -> None:
    """List the queued profiles: where each stands and what came of it."""
    if ctx.invoked_subcommand is not None:
        return
    store, queue = _open(ctx)
    with queue:
        found = queue.jobs(device)
    if as_json:
        print_json([_document(job, store) for job in found])
        return
    print_table(
        ("id", "device", "status", "profile", "what"),
        [(str(job.id), job.device, job.status, _title(job), _what(job, store)) for job in found],
    )


@jobs.command()
@click.argument("job_id", metavar="ID", type=int)
@click.pass_context
def cancel(ctx: click.Context, job_id: int) -> None:
    """Take a waiting job out of the queue, or stop a running one after its visit; what was measured is stored."""
    _, queue = _open(ctx)
    with queue:
        job = queue.cancel(job_id)
    click.echo(f"job {job.id}: {'stops after its visit' if job.cancelling else job.status}")


def unserved(job: QueuedJob) -> str:
    """What a job waits for where nobody serves its device, and the command that mends it."""
    return (
        f"queued; no worker serves device {job.device!r} now: latency-db worker --device {job.device} … "
        "on that machine starts one"
    )


def _open(ctx: click.Context) -> tuple[Store, JobQueue]:
    """The database, once it is found to be one that can hold a queue: a file would be created for nothing."""
    from latency_db.queue.connection import queue_url
    from latency_db.queue.jobs import JobQueue

    queue_url(ctx.find_root().params.get("db"))
    store = open_store(ctx)
    return store, JobQueue.open(store.url)


def _followed(queue: JobQueue, job: QueuedJob) -> QueuedJob:
    while not job.is_over:
        time.sleep(_POLL_S)
        job = queue.job(job.id)
    return job


def _title(job: QueuedJob) -> str:
    request = job.request
    return f"{request['space']} at {request['image']} with {request['backend']}"


def _visits(job: QueuedJob, store: Store) -> int:
    from latency_db.queue.task import NOTE

    return sum(run.visits for run in store.run_extents({NOTE: job.id}))


def _what(job: QueuedJob, store: Store) -> str:
    if job.is_over:
        return job.line or ""
    visits = _visits(job, store)
    so_far = f"{visits} visits so far" if visits else ""
    if not job.served:
        held = "its worker is gone" if job.status == "running" else unserved(job)
        return "; ".join(part for part in (so_far, held) if part)
    return f"{so_far}, stops after its visit" if job.cancelling else so_far


def _document(job: QueuedJob, store: Store) -> dict[str, object]:
    return {
        "id": job.id,
        "device": job.device,
        "status": job.status,
        "served": job.served,
        "attempts": job.attempts,
        "visits": _visits(job, store),
        "line": job.line,
        "request": dict(job.request),
    }


def _colon(line: str | None) -> str:
    return f": {line}" if line else ""
