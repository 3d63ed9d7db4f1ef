"""``searcher derive``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import open_store, print_or_write
from latency_db.errors import InputError

if TYPE_CHECKING:
    from searcher.published import Published


class _Branches(click.ParamType[Any]):
    """16,32."""

    name = "s,s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of final scales, as in 16,32", param, ctx)


@click.command()
@click.argument("source", type=click.Path())
@click.option(
    "--branches", type=_Branches(), help="Of a published file: the scales at which branches end.  [default: 16,32]"
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), help="Of a published file: where to.  [default: standard output]"
)
@click.pass_context
def derive(ctx: click.Context, source: str, branches: tuple[int, ...] | None, output: str | None) -> None:
    """Derive the discrete networks from what a search has learned (section 3.4 of the paper).

    SOURCE is the folder of a run, whose student.json, teacher.json and result.json are written anew, also before it has
    finished; or arch_0.pt (teacher) or arch_1.pt (student), as FasterSeg's authors published them.
    """
    path = Path(source)
    if path.is_dir():
        if branches is not None or output is not None:
            raise InputError(
                f"{source} is the folder of a run: its networks are written there, with the branches that its "
                "configuration leads to; --branches and --output are for published files"
            )
        _derive_run(ctx, path)
        return
    from searcher.published import read_published

    published = read_published(path)
    finals = (16, 32) if branches is None else branches
    text = json.dumps(published.architecture(finals).to_json(), indent=2)
    _say(published, finals)
    print_or_write(text, output)


def _derive_run(ctx: click.Context, folder: Path) -> None:
    from searcher.finish import derive_run

    result = derive_run(folder, open_store(ctx))
    for one in (result.student, result.teacher):
        ends = " and ".join(f"1/{s}" for s in one.branches)
        click.echo(
            f"{folder / one.file}: {one.latency_ms:.4f} ms at {result.image_size} on {result.device}, ends at {ends}"
        )
        if one.note:
            click.echo(f"  {one.note}")


def _say(published: Published, finals: tuple[int, ...]) -> None:
    """What the user should not take the result for."""
    from searcher.derive import downsample_positions

    lattice = published.space.lattice
    found = []
    for final in finals:
        layers = downsample_positions(published.logits.beta, final, lattice)
        entered = " and ".join(f"1/{s} at layer {layer}" for s, layer in zip(lattice.scales[1:], layers, strict=False))
        found.append(f"the branch to 1/{final} {f'enters {entered}' if entered else 'stays there'}")
    click.echo(f"{published.role}: {'; '.join(found)}", err=True)
    if published.role == "student":
        click.echo(
            "This is not Table 7 of the paper: there the positions come from a narrower search, without the last "
            "layer, and no branch downsamples by a skip. Here all positions compete, as section 3.4 says. Table 7 is "
            "built in: fasterseg-student, and fasterseg-student-32-8 for branches 8,32.",
            err=True,
        )
