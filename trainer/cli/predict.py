"""``trainer predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latency_db.errors import InputError
from trainer.cli.counting import Counting
from trainer.cli.trained_options import image_size, load, network_option, size_option, torch_device_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latency_db.keys import ImageSize
    from trainer.palette import Colour
    from trainer.prediction_inputs import Picture
    from trainer.predictor import Predictor

OVERLAY, MASK = "overlay", "mask"


class WhatType(click.ParamType[Any]):
    """overlay, mask, or both with a comma."""

    name = f"{OVERLAY},{MASK}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if not isinstance(value, str):
            return value
        parts = frozenset(value.split(","))
        if not parts <= {OVERLAY, MASK}:
            self.fail(f"{value!r} is neither {OVERLAY}, {MASK} nor {OVERLAY},{MASK}", param, ctx)
        return parts


@click.command()
@click.argument("checkpoint", metavar="CHECKPOINT|RUN")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder of the results.")
@click.option("--what", type=WhatType(), help="What to write.  [default: both of images, the overlay of videos]")
@click.option(
    "--opacity", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Share of the colours in an overlay."
)
@click.option(
    "--cityscapes-submission", "submission", is_flag=True, help="Write label ids as Cityscapes' server takes them."
)
@click.option("--skip-existing", is_flag=True, help="Leave alone what is there already: go on after a stop.")
@size_option
@network_option
@torch_device_option
def predict(
    checkpoint: str,
    inputs: tuple[str, ...],
    out: str,
    what: frozenset[str] | None,
    opacity: float,
    submission: bool,
    skip_existing: bool,
    size: ImageSize | str | None,
    network: str | None,
    torch_device: str,
) -> None:
    """Show what a trained network sees in images and videos.

    INPUT is an image, a folder of images (with those in folders below it), or a video. Of an image NAME, the results
    are NAME_overlay.png, with the classes' colours, and NAME_mask.png, whose pixels are class indices; of a video,
    NAME_overlay.mp4 and, if --what asks for masks, a folder NAME_masks with one for each frame.

    With --cityscapes-submission, the results are the PNG files that Cityscapes' server takes, and nothing else; pack
    them with `zip`.
    """
    from trainer.palette import class_colours
    from trainer.prediction_inputs import find_inputs, require_apart
    from trainer.predictor import Predictor
    from trainer.runs.torch_device import open_device

    if submission and what is not None:
        raise InputError("--cityscapes-submission writes nothing else, so --what does not go with it")
    found = find_inputs(inputs)
    require_apart(inputs, Path(out))
    if submission and found.videos:
        raise InputError(f"{found.videos[0].path} is a video: Cityscapes' server takes results of its images")
    device = open_device(torch_device)
    trained = load(checkpoint, network, device)
    predictor = Predictor(trained, size=image_size(size, trained), device=device)
    colours = class_colours(trained.dataset, trained.classes)
    if found.images:
        wanted = frozenset({OVERLAY, MASK}) if what is None else what
        _images(predictor, found.images, Path(out), colours, wanted, opacity, submission, skip_existing)
    if found.videos:
        wanted = frozenset({OVERLAY}) if what is None else what
        _videos(predictor, found.videos, Path(out), colours, wanted, opacity, skip_existing)


def _images(
    predictor: Predictor,
    pictures: Sequence[Picture],
    out: Path,
    colours: tuple[Colour, ...],
    what: frozenset[str],
    opacity: float,
    submission: bool,
    skip_existing: bool,
) -> None:
    from trainer.cityscapes_submission import SubmissionFile
    from trainer.overlay import MaskFile, OverlayFile
    from trainer.predict import ResultFile, predict_images

    kinds: list[ResultFile] = []
    if submission:
        kind = SubmissionFile(predictor.trained)
        kind.require_alone([picture.below for picture in pictures], out)
        kinds.append(kind)
    else:
        kinds.extend([OverlayFile(colours, opacity)] if OVERLAY in what else [])
        kinds.extend([MaskFile(colours)] if MASK in what else [])
    looked_at = predict_images(
        predictor, pictures, kinds, out, skip_existing=skip_existing, on_images=Counting(len(pictures))
    )
    click.echo(f"{out}: {looked_at} images{_skipped(len(pictures) - looked_at)}")


def _videos(
    predictor: Predictor,
    videos: Sequence[Picture],
    out: Path,
    colours: tuple[Colour, ...],
    what: frozenset[str],
    opacity: float,
    skip_existing: bool,
) -> None:
    from trainer.predict_video import overlay_name, predict_video
    from trainer.prediction_inputs import require_distinct

    require_distinct({video: [overlay_name(video)] for video in videos})
    for video in videos:
        counting = Counting(None, f"frames of {video.path.name}")

        def say(done: int, total: int | None, counting: Counting = counting) -> None:
            counting.total = total
            counting(done)

        looked_at = predict_video(
            predictor,
            video,
            colours,
            out,
            overlay=OVERLAY in what,
            masks=MASK in what,
            opacity=opacity,
            skip_existing=skip_existing,
            on_frames=say,
        )
        counting.end()
        click.echo(f"{out}: {looked_at} frames of {video.path.name}")


def _skipped(count: int) -> str:
    return f", {count} were there already" if count else ""
