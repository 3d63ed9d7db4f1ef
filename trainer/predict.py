"""What a trained network sees in images, written to files. Each is whole, or not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from trainer.image_files import read_image
from trainer.prediction_inputs import Picture, require_distinct
from trainer.predictor import Classes, Predictor
from trainer.runs.files import cannot, write_whole


class ResultFile(Protocol):
    """A kind of file that is written for an image."""

    def name(self, picture: Path) -> Path:
        """Its path below the folder of results, from the image's path below what was named."""

    def encode(self, image: Image.Image, classes: Classes) -> bytes:
        """Its content: from the image, mode RGB, (H, W), and its (H, W) classes."""


def predict_images(
    predictor: Predictor,
    pictures: Sequence[Picture],
    kinds: Sequence[ResultFile],
    out: Path,
    *,
    skip_existing: bool = False,
    on_images: Callable[[int], None] | None = None,
) -> int:
    """Write the results of images, replacing what is there.

    Args:
        predictor: what looks at them.
        pictures: the images.
        kinds: what to write for each.
        out: the folder of the results; made where it is not there.
        skip_existing: leave images alone whose results are all there.
        on_images: is told how many images are done, after each.

    Returns:
        How many images were looked at.

    Raises:
        InputError: two images have results of one name; an image cannot be read or is too small; a file cannot be
            written.
    """
    results = {picture: [out / kind.name(picture.below) for kind in kinds] for picture in pictures}
    require_distinct(results)
    looked_at = 0
    for done, (picture, paths) in enumerate(results.items(), start=1):
        if not (skip_existing and all(path.exists() for path in paths)):
            image = read_image(picture.path)
            classes = predictor(image, str(picture.path))
            for path, kind in zip(paths, kinds, strict=True):
                make_folder(path.parent)
                write_whole(path, kind.encode(image, classes))
            looked_at += 1
        if on_images is not None:
            on_images(done)
    return looked_at


def make_folder(path: Path) -> None:
    """The folder, where it is not there yet.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot("write to", path, error) from None
