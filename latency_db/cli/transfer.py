"""``latency-db export`` and ``latency-db import``."""

from __future__ import annotations

from pathlib import Path

import click

from latency_db.cli.common import device_option, json_option, open_store, print_json, require_device
from latency_db.errors import InputError

_FORMAT = click.Choice(["csv", "json", "parquet"])


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@device_option
@click.option("--backend", "backend_name", help="Only targets of this backend.")
@click.option("--format", "file_format", type=_FORMAT, help="File format.  [default: by the file's ending]")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    output: Path,
    device: str | None,
    backend_name: str | None,
    file_format: str | None,
    as_json: bool,
) -> None:
    """Write operator measurements to OUTPUT, every one with its samples and its target.

    Without --device or --backend, all targets are written.
    """
    from latency_db import transfer

    store = open_store(ctx)
    require_device(store, device)
    chosen = file_format or transfer.guess_format(output)
    found = [row for target in store.targets(device, backend_name) for row in transfer.rows(store, target)]
    if not found:
        raise InputError("there is nothing to export", hint="latency-db targets shows what there is")
    transfer.write(output, chosen, found)
    if as_json:
        print_json({"file": str(output), "format": chosen, "rows": len(found)})
    else:
        click.echo(f"{output}: {len(found)} rows")


@click.group("import")
def import_group() -> None:
    """Read latencies from a file. What is already there is not doubled."""


def _add(name: str, what: str) -> None:
    @import_group.command(name, help=f"Import FILE, {what} written by `latency-db export`.")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @json_option
    @click.pass_context
    def command(ctx: click.Context, file: Path, as_json: bool) -> None:
        from latency_db import transfer

        result = transfer.load(open_store(ctx), file, name)
        if as_json:
            print_json({"file": str(file), "rows": result.rows, "added": result.added})
        else:
            click.echo(f"{file}: {result.rows} rows, {result.added} of them new")


_add("csv", "a CSV file")
_add("json", "a JSON file")
_add("parquet", "a Parquet file")


@import_group.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--device", default="1080ti", show_default=True, help="Device slug to file the latencies under.")
@json_option
@click.pass_context
def fasterseg(ctx: click.Context, file: Path, device: str, as_json: bool) -> None:
    """Import FILE, the latency table that FasterSeg's authors published as latency_lookup_table.npy.

    It holds the operators of the space fasterseg for an image of 1024x2048 on a GTX 1080 Ti under TensorRT 5.1.5.
    The file is a pickle, and it is read without executing anything in it.
    """
    from latency_db.importers import fasterseg as importer

    result = importer.load(open_store(ctx), file, device)
    target = result.target
    if as_json:
        print_json(
            {
                "file": str(file),
                "rows": result.rows,
                "added": result.added,
                "target": {
                    "device": target.device,
                    "backend": target.backend,
                    "runtime_version": target.runtime_version,
                    "precision": target.precision,
                    "settings": dict(target.settings),
                },
            }
        )
    else:
        click.echo(
            f"{file}: {result.rows} rows, {result.added} of them new, "
            f"of {target.device} ({target.backend} {target.runtime_version}, {target.precision})"
        )
