"""``latency-db profile --build-only``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from latency_db.cli.common import Command, ProgressLine, open_store, print_json
from latency_db.keys import ImageSize

if TYPE_CHECKING:
    from backends.building import Buildable
    from backends.protocol import Target
    from latency_db.building import BuildResult
    from latency_db.space import Space


def build_options(command: Command) -> Command:
    """``--build-only``, ``--networks``."""
    for option in (
        click.option(
            "--networks",
            type=click.IntRange(min=0),
            default=10,
            show_default=True,
            help="With --build-only: random networks to build.",
        ),
        click.option(
            "--build-only",
            is_flag=True,
            help="Measure nothing: build every operator and some networks for GPUs that need not be here, as far as "
            "the backend can (trt).",
        ),
    ):
        command = option(command)
    return command


def build_and_tell(
    ctx: click.Context,
    builder: Buildable,
    space: Space,
    image: ImageSize,
    *,
    batch: int,
    networks: int,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Build, print what came of it, and exit with 1 where something was refused."""
    from latency_db.building import build_space

    line = ProgressLine()
    try:
        result = build_space(
            open_store(ctx),
            builder,
            space,
            image,
            batch=batch,
            networks=networks,
            only=only,
            report=line.building,
        )
    finally:
        line.end()
    if as_json:
        print_json({"space": space.name, "image_size": str(image), **_document(result)})
    else:
        _print(result, f"{space.name} at {image}")
    for reason in result.failed.values():
        click.echo(f"Error: not built: {reason}", err=True)
    if result.failed:
        ctx.exit(1)


def target_document(target: Target) -> dict[str, object]:
    """What a latency, or a program, is of."""
    return {
        "key": target.key,
        "device": target.device,
        "backend": target.backend,
        "runtime": target.runtime,
        "runtime_version": target.runtime_version,
        "precision": target.precision,
        "settings": dict(target.settings),
    }


def _document(result: BuildResult) -> dict[str, object]:
    return {
        "target": target_document(result.target),
        "run": result.run_id,
        "specs": result.specs,
        "networks": result.networks,
        "built": result.built,
        "kept": result.kept,
        "failed": result.failed,
        "size_bytes": result.size_bytes,
        "elapsed_s": result.elapsed_s,
    }


def _print(result: BuildResult, what: str) -> None:
    target = result.target
    click.echo(
        f"{result.built + result.kept} of {result.specs + result.networks} programs ({result.specs} operators and "
        f"{result.networks} networks of {what}) for {target.device} ({target.runtime} {target.runtime_version}, "
        f"{target.precision}); nothing was measured"
    )
    click.echo(
        f"{result.built} built now, {result.kept} were there; {result.size_bytes / 2**20:.0f} MiB, "
        f"{result.elapsed_s:.0f} s"
    )
