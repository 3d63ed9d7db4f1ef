"""``latency-db targets``, ``devices``, ``backends``, ``spaces``: what there is."""

from __future__ import annotations

import click

from latency_db.cli.common import device_option, json_option, open_store, print_json, print_table, require_device


@click.command()
@device_option
@click.option("--backend", "backend_name", help="Only targets of this backend.")
@json_option
@click.pass_context
def targets(ctx: click.Context, device: str | None, backend_name: str | None, as_json: bool) -> None:
    """List the targets in the database: what latencies are of."""
    store = open_store(ctx)
    require_device(store, device)
    rows = store.targets(device, backend_name)
    if as_json:
        print_json(
            [
                {
                    "id": row.id,
                    "device": row.target.device,
                    "backend": row.target.backend,
                    "runtime": row.target.runtime,
                    "runtime_version": row.target.runtime_version,
                    "precision": row.target.precision,
                    "settings": dict(row.target.settings),
                    "fingerprint": row.target.fingerprint,
                    "reference_ms": row.reference_ms,
                    "operators": row.n_specs,
                    "measurements": row.n_measurements,
                    "provenances": sorted(row.provenances),
                }
                for row in rows
            ]
        )
        return
    print_table(
        ("id", "device", "backend", "version", "precision", "settings", "operators", "measurements", "provenance"),
        [
            (
                str(row.id),
                row.target.device,
                row.target.backend,
                row.target.runtime_version,
                row.target.precision,
                row.target.settings_json,
                str(row.n_specs),
                str(row.n_measurements),
                ", ".join(sorted(row.provenances)),
            )
            for row in rows
        ],
    )


@click.command()
@json_option
@click.pass_context
def devices(ctx: click.Context, as_json: bool) -> None:
    """List the devices in the database."""
    rows = open_store(ctx).devices()
    if as_json:
        print_json([{"device": row.slug, "name": row.name, "targets": row.targets} for row in rows])
        return
    print_table(("device", "name", "targets"), [(row.slug, row.name, str(row.targets)) for row in rows])


@click.command("backends")
@json_option
def backends_command(as_json: bool) -> None:
    """List the backends, whether each can run here, and if not the command that mends it."""
    from backends import registry

    found = registry.availability()
    if as_json:
        print_json(
            [
                {
                    "backend": name,
                    "available": one.available,
                    "runtime": one.runtime,
                    "runtime_version": one.runtime_version,
                    "reason": one.reason,
                    "install": one.install,
                }
                for name, one in found.items()
            ]
        )
        return
    print_table(
        ("backend", "runtime", "version", "available"),
        [
            (
                name,
                one.runtime,
                one.runtime_version or "-",
                "yes" if one.available else f"no: {one.reason} ({one.install})",
            )
            for name, one in found.items()
        ],
    )


@click.command("spaces")
@json_option
def spaces_command(as_json: bool) -> None:
    """List the search spaces, with the settings that they have by default and the architectures that they name."""
    from latency_db import spaces

    made = [spaces.create(name) for name in spaces.names()]
    if as_json:
        print_json(
            [{"space": one.name, "settings": dict(one.settings), "builtin": sorted(one.builtin())} for one in made]
        )
        return
    print_table(
        ("space", "settings", "built in"),
        [
            (
                one.name,
                ", ".join(f"{key}={value}" for key, value in one.settings.items()),
                ", ".join(sorted(one.builtin())) or "-",
            )
            for one in made
        ],
    )
