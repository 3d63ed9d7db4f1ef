"""``latency-db fit``."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import (
    device_option,
    image_option,
    json_option,
    open_store,
    print_json,
    print_table,
    require_device,
    space_options,
    warn_of_flagged,
)
from latency_db.errors import InputError
from latency_db.keys import ImageSize

if TYPE_CHECKING:
    from latency_db.fitting import FitResult
    from latency_db.rows import TargetRow


@click.command()
@device_option
@click.option("--backend", "backend_name", help="Only targets of this backend.")
@space_options
@image_option("1024x2048")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the model to this JSON file.")
@click.option("--no-fill", is_flag=True, help="Store no predictions; only fit.")
@click.option("--extrapolate", is_flag=True, help="Predict operators outside of what was fitted, too.")
@json_option
@click.pass_context
def fit(
    ctx: click.Context,
    device: str | None,
    backend_name: str | None,
    space_name: str,
    space_settings: tuple[str, ...],
    batch: int,
    image: ImageSize,
    output: Path | None,
    no_fill: bool,
    extrapolate: bool,
    as_json: bool,
) -> None:
    """Fit a device model to a target's latencies, and fill in what the space lacks.

    A model has a few coefficients per operator and stride. It is fitted to what was measured or imported on the target,
    at whatever image size, and its predictions for operators of the space without a latency are stored as predicted:
    measured and imported latencies go before them. Fitting anew takes the place of earlier predictions. Operators
    outside of what was fitted are refused, and nothing is stored then, unless --extrapolate is given.
    """
    from latency_db import spaces
    from latency_db.fitting import fit_target

    _check_output(output)
    space = spaces.create(space_name, **spaces.parse_settings(space_settings))
    store = open_store(ctx)
    require_device(store, device)
    target = store.resolve_target(device, backend_name)
    result = fit_target(store, target, space=space, image=image, batch=batch, extrapolate=extrapolate, fill=not no_fill)
    warn_of_flagged(result.flagged, result.rows, "latencies")
    if output is not None:
        _write(output, result.model.to_json())
    if as_json:
        print_json(_document(target, result, space.name, image, batch, output))
    else:
        _print(target, result, space.name, image, output, filling=not no_fill)


def _check_output(output: Path | None) -> None:
    """Before anything is fitted and stored: can the file be written at all?"""
    if output is not None and (not output.name or output.is_dir()):
        raise InputError(f"--output {str(output)!r} is no file")
    if output is not None and not os.access(output.parent, os.W_OK):
        raise InputError(f"cannot write {output}: {output.parent} is no folder that can be written to")


def _write(output: Path, document: dict[str, Any]) -> None:
    """All or nothing: whoever reads meanwhile sees the old file or the new one."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=output.parent, encoding="utf-8", delete=False) as file:
            temporary = Path(file.name)
            file.write(text)
        # A temporary file is for its owner's eyes only; this one is like any other that the user makes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(output)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _document(
    target: TargetRow, result: FitResult, space: str, image: ImageSize, batch: int, output: Path | None
) -> dict[str, object]:
    return {
        "target": {
            "device": target.target.device,
            "backend": target.target.backend,
            "runtime_version": target.target.runtime_version,
            "precision": target.target.precision,
            "settings": dict(target.target.settings),
        },
        "space": space,
        "image_size": str(image),
        "batch": batch,
        "rows": result.rows,
        "flagged": result.flagged,
        "kinds": [
            {
                "op": kind.op,
                "stride": kind.stride,
                "form": kind.form,
                "n": kind.n,
                "rows": len(kind.rows),
                "cv_median": kind.errors.median if kind.errors else None,
                "cv_mean": kind.errors.mean if kind.errors else None,
                "cv_half_width_95": kind.errors.half_width_95 if kind.errors else None,
            }
            for kind in result.model.kinds
        ],
        "filled": result.filled,
        "run": result.run_id,
        "output": None if output is None else str(output),
    }


def _print(
    target: TargetRow, result: FitResult, space: str, image: ImageSize, output: Path | None, *, filling: bool
) -> None:
    click.echo(f"{target.line}: fitted to {result.rows} latencies")
    print_table(
        ("operator", "form", "fitted", "repeated", "cv median", "cv mean", "cv 95%"),
        [
            (
                kind.name,
                kind.form,
                str(kind.n),
                str(len(kind.rows)),
                *(
                    ("-", "-", "-")
                    if kind.errors is None
                    else (f"{kind.errors.median:.1%}", f"{kind.errors.mean:.1%}", f"{kind.errors.half_width_95:.1%}")
                ),
            )
            for kind in result.model.kinds
        ],
    )
    if filling:
        click.echo(f"filled in: {result.filled} operators of {space} at {image} that had no latency")
    if output is not None:
        click.echo(f"model: {output}")
