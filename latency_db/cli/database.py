"""``latency-db db``."""

from __future__ import annotations

import click

from latency_db.cli.common import json_option, print_json


@click.group()
def db() -> None:
    """Look after the database itself."""


@db.command()
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Bring the database to the newest schema; nothing in it is lost."""
    from latency_db import session

    url = session.resolve_url(ctx.find_root().params.get("db"))
    session.upgrade(url)
    click.echo(f"{shown(url)} is at schema {session.current_revision(url)}")


@db.command()
@json_option
@click.pass_context
def current(ctx: click.Context, as_json: bool) -> None:
    """Show where the database is and which schema it has."""
    from latency_db import session

    url = session.resolve_url(ctx.find_root().params.get("db"))
    revision = session.current_revision(url)
    if as_json:
        print_json({"url": shown(url), "schema": revision})
    else:
        click.echo(f"{shown(url)}: schema {revision or 'none: no database there yet'}")


def shown(url: str) -> str:
    """The URL without its password."""
    from sqlalchemy import make_url

    return make_url(url).render_as_string(hide_password=True)
