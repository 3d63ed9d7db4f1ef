"""``trainer grid``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.errors import InputError
from trainer.cli.counting import Counting
from trainer.cli.trained_options import image_size, load, size_option, torch_device_option

if TYPE_CHECKING:
    from latency_db.keys import ImageSize


class ImagesType(click.ParamType[Any]):
    """A number, or names with commas."""

    name = "N|names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if not isinstance(value, str):
            return value
        if value.isdecimal():
            return int(value)
        # With a comma at its end, a number is a name.
        names = [name.strip() for name in value.removesuffix(",").split(",")]
        if not all(names):
            self.fail(f"{value!r} is neither a number of images nor a list of names, as in a,b,c", param, ctx)
        return names


@click.command()
@click.argument("checkpoints", metavar="CHECKPOINT|RUN...", nargs=-1, required=True)
@click.option("--dataset", required=True, help="Data set by name.")
@click.option("--data", type=click.Path(), help="Its folder.")
@click.option("--split", default="val", show_default=True, help="Where the images are from.")
@click.option(
    "--images",
    type=ImagesType(),
    default=4,
    show_default=True,
    help="How many, spread over the split; or their names or how those begin, with commas.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="The PNG to write.")
@click.option("--title", "titles", multiple=True, help="Of a network, in their order. Repeatable.  [default: its run]")
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="PKG.MOD:FACTORY",
    help="Where networks are modules of your own: the callables that make them, one for each. Repeatable.",
)
@size_option
@torch_device_option
def grid(
    checkpoints: tuple[str, ...],
    dataset: str,
    data: str | None,
    split: str,
    images: int | list[str],
    out: str,
    titles: tuple[str, ...],
    networks: tuple[str, ...],
    size: ImageSize | str | None,
    torch_device: str,
) -> None:
    """Show what trained networks see in the same images, side by side (Figure 7 of FasterSeg's paper).

    A row is an image: itself, the ground truth, and what each network sees, at the image's own resolution.
    """
    from latency_db.report.style import new_figure
    from trainer.data import open_dataset
    from trainer.evaluate import with_drawn_size
    from trainer.grid import look_at, render_grid
    from trainer.grid_images import choose_images
    from trainer.palette import class_colours
    from trainer.predictor import Predictor
    from trainer.runs.files import write_whole
    from trainer.runs.torch_device import open_device

    # Before the networks run: matplotlib may not be there.
    new_figure(1, 1)
    _require_one_each("--title", titles, checkpoints)
    _require_one_each("--network", networks, checkpoints)
    opened = open_dataset(dataset, data, split)
    indices = choose_images(opened, images)
    device = open_device(torch_device)
    makers = networks or (None,) * len(checkpoints)
    trained = [load(checkpoint, network, device) for checkpoint, network in zip(checkpoints, makers, strict=True)]
    predictors = [Predictor(one, size=image_size(size, one), device=device) for one in trained]
    drawn = with_drawn_size(opened, {predictor.size for predictor in predictors})
    rows = look_at(predictors, drawn, indices, Counting(len(indices)))
    colours = class_colours(dataset, opened.classes)
    names = titles or [_title(Path(checkpoint)) for checkpoint in checkpoints]
    write_whole(Path(out), render_grid(rows, names, opened.classes, colours))
    click.echo(out)


def _require_one_each(option: str, values: tuple[str, ...], checkpoints: tuple[str, ...]) -> None:
    if values and len(values) != len(checkpoints):
        raise InputError(
            f"{option} is given {len(values)} times for {len(checkpoints)} networks: one for each, or none"
        )


def _title(checkpoint: Path) -> str:
    """The name of the training's folder, or of the file."""
    from trainer.trained import MODEL

    path = checkpoint.resolve()
    return path.parent.name if path.name == MODEL else path.name.removesuffix(path.suffix if path.is_file() else "")
