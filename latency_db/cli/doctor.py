"""``latency-db doctor``."""

from __future__ import annotations

import click

from latency_db import __version__
from latency_db.cli.common import DURATION, backend_options, json_option, make_backend, print_json


@click.command()
@backend_options
@click.option("--seconds", type=DURATION, default="3s", show_default=True, help="How long to listen to the machine.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    backend_name: str,
    threads: int | None,
    settings: tuple[str, ...],
    seconds: float,
    as_json: bool,
) -> None:
    """Say what is installed, which clock is used, and how noisy this machine is right now."""
    from backends import registry
    from backends.environment import describe
    from latency_db import session
    from latency_db.cli.database import shown
    from latency_db.noise import listen

    url = session.resolve_url(ctx.find_root().params.get("db"))
    found = registry.availability()
    noise = listen(make_backend(backend_name, threads, settings), seconds)
    environment = describe()
    schema = session.current_revision(url)
    if as_json:
        print_json(
            {
                "version": __version__,
                "database": {"url": shown(url), "schema": schema},
                "environment": dict(environment),
                "backends": {
                    name: {
                        "available": one.available,
                        "runtime": one.runtime,
                        "version": one.runtime_version,
                        "reason": one.reason,
                        "install": one.install,
                    }
                    for name, one in found.items()
                },
                "noise": noise.__dict__,
            }
        )
        return
    click.echo(f"latency-db {__version__}")
    click.echo(f"database   {shown(url)}, schema {schema or 'none yet: the first command creates it'}")
    click.echo(f"machine    {environment.get('cpu_model', '?')}, {environment.get('cpu_count', '?')} cores")
    for name, one in found.items():
        state = f"{one.runtime} {one.runtime_version}" if one.available else f"not here: {one.reason}; {one.install}"
        click.echo(f"backend    {name}: {state}")
    click.echo(f"clock      {noise.clock}, resolution {noise.clock_resolution_ms * 1e6:.0f} ns")
    click.echo(
        f"noise      {noise.samples} runs of the reference workload on {backend_name}: "
        f"undisturbed {noise.undisturbed_ms:.3f} ms, median {noise.median_ms:.3f}, 95th percentile {noise.p95_ms:.3f}; "
        f"{noise.disturbed:.0%} disturbed by more than 20%"
    )
    click.echo(f"           {_advice(noise.disturbed)}")


def _advice(disturbed: float) -> str:
    if disturbed < 0.05:
        return "A quiet machine: profile away."
    if disturbed < 0.4:
        return "Some other load comes and goes; the rounds and the reference take care of that, they just take longer."
    return "A busy machine: give it a larger --time-budget, or quiet it first."
