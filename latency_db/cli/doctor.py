"""``latency-db doctor``."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backends.errors import BackendError
from latency_db import __version__
from latency_db.cli.common import DURATION, backend_options, json_option, make_backend, print_json
from latency_db.errors import LatencyDbError

if TYPE_CHECKING:
    from latency_db.noise import Noise

Found = TypeVar("Found")
OPTIONAL = {"matplotlib": "report", "psycopg": "postgresql", "pyarrow": "parquet", "procrastinate": "worker"}
"""What some commands need, and the extra that brings it."""


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
    """Say what is installed, which clock is used, what can be observed, and how noisy this machine is right now.

    Looks at everything, whatever it finds wrong on the way; exit code 1 when there was something.
    """
    from backends import registry
    from backends.environment import describe
    from latency_db import session
    from latency_db.cli.database import shown

    url = session.resolve_url(ctx.find_root().params.get("db"))
    problems: list[str] = []
    schema = _tried(lambda: session.current_revision(url), problems)
    noise = _tried(lambda: _listen(backend_name, threads, settings, seconds), problems)
    document = {
        "version": __version__,
        "database": {"url": shown(url), "schema": schema},
        "environment": dict(describe()),
        "backends": {name: dataclasses.asdict(one) for name, one in registry.availability().items()},
        "optional": {name: importlib.util.find_spec(name) is not None for name in OPTIONAL},
        "observers": _tried(lambda: _observers(backend_name, threads, settings), []),
        "noise": None if noise is None else dataclasses.asdict(noise),
        "problems": problems,
    }
    if as_json:
        print_json(document)
    else:
        _print(document, backend_name)
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    if problems:
        ctx.exit(1)


def _listen(backend_name: str, threads: int | None, settings: tuple[str, ...], seconds: float) -> Noise:
    from latency_db.noise import listen

    return listen(make_backend(backend_name, threads, settings), seconds)


def _observers(backend_name: str, threads: int | None, settings: tuple[str, ...]) -> dict[str, dict[str, str | None]]:
    """By observer, what can be seen while the backend measures: null, or why not."""
    found = {}
    for observer in make_backend(backend_name, threads, settings).observers():
        try:
            found[observer.name] = dict(observer.sources())
        finally:
            observer.close()
    return found


def _tried(look: Callable[[], Found], problems: list[str]) -> Found | None:
    """What is wrong is what this command is for: it is noted, and the rest is looked at as well."""
    try:
        return look()
    except (LatencyDbError, BackendError) as error:
        problems.append(" ".join(str(error).split()))
        return None


def _print(document: dict[str, Any], backend_name: str) -> None:
    database, environment = document["database"], document["environment"]
    click.echo(f"latency-db {document['version']}")
    click.echo(f"database   {database['url']}, schema {database['schema'] or 'none yet: the first command creates it'}")
    click.echo(f"machine    {environment.get('cpu_model', '?')}, {environment.get('cpu_count', '?')} cores")
    for name, one in document["backends"].items():
        here, lacking = f"{one['runtime']} {one['runtime_version']}", f"not here: {one['reason']}; {one['install']}"
        click.echo(f"backend    {name}: {here if one['available'] else lacking}")
    for name, installed in document["optional"].items():
        lacking = f"not here: pip install 'latency-db[{OPTIONAL[name]}]'"
        click.echo(f"optional   {name}: {'installed' if installed else lacking}")
    for observer, sources in (document["observers"] or {}).items():
        click.echo(
            f"observed   {observer}: {', '.join(name for name, why in sources.items() if why is None) or 'nothing'}"
        )
        for name, why in sources.items():
            if why is not None:
                click.echo(f"           not here: {name}: {why}")
    if document["noise"] is not None:
        _print_noise(document["noise"], backend_name)


def _print_noise(noise: dict[str, Any], backend_name: str) -> None:
    click.echo(f"clock      {noise['clock']}, resolution {noise['clock_resolution_ms'] * 1e6:.0f} ns")
    click.echo(
        f"noise      {noise['samples']} runs of the reference workload on {backend_name}: undisturbed "
        f"{noise['undisturbed_ms']:.3f} ms, median {noise['median_ms']:.3f}, 95th percentile {noise['p95_ms']:.3f}; "
        f"{noise['disturbed']:.0%} disturbed by more than 20%"
    )
    click.echo(f"           {_advice(noise['disturbed'])}")


def _advice(disturbed: float) -> str:
    if disturbed < 0.05:
        return "A quiet machine: profile away."
    if disturbed < 0.4:
        return "Some other load comes and goes; the rounds and the reference take care of that, they just take longer."
    return "A busy machine: give it a larger --time-budget, or quiet it first."
