"""``latency-db worker``."""

from __future__ import annotations

import click

from latency_db.cli.common import DURATION, ProgressLine, device_option, open_store


@click.command()
@device_option
@click.option(
    "--backend",
    "backend_name",
    help="Refuse to begin where this backend cannot run; it names the device where --device does not.  [default: ort]",
)
@click.option("--drain", is_flag=True, help="End when no job is left instead of waiting for more.")
@click.option(
    "--stalled-after",
    type=DURATION,
    default="30s",
    show_default=True,
    help="Take over the job of a worker that gave no sign for this long. The same for all workers of a device.",
)
@click.pass_context
def worker(ctx: click.Context, device: str | None, backend_name: str | None, drain: bool, stalled_after: float) -> None:
    """Do the profiles that `latency-db submit` queued for this machine's device.

    One at a time, each as `latency-db profile` would do it here. At SIGTERM or Ctrl-C the job that is going on is given
    back after its visit; what a killed worker held is taken over by the next one. Both go on where the profile was.
    """
    from backends import registry
    from latency_db.queue.connection import queue_url
    from latency_db.queue.jobs import JobQueue
    from latency_db.queue.worker import Worker, quiet_libraries

    queue_url(ctx.find_root().params.get("db"))
    if device is None or backend_name is not None:
        backend = registry.create(backend_name or "ort")
        device = device or backend.target(None).device
    store = open_store(ctx)
    if not ctx.find_root().params.get("debug"):
        quiet_libraries()
    line = ProgressLine()
    with JobQueue.open(store.url) as queue:
        try:
            Worker(
                queue=queue,
                device=device,
                drain=drain,
                stalled_s=stalled_after,
                # On a terminal it takes the place of the progress line.
                say=lambda text: click.echo(f"\r\x1b[K{text}" if line.terminal else text, err=True),
                report=line,
            ).serve()
        finally:
            line.end()
