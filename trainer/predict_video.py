"""What a trained network sees in a video: frame by frame, so that its length does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from latency_db.errors import InputError
from trainer.overlay import blend, indexed, png_bytes
from trainer.palette import Colour
from trainer.predict import make_folder
from trainer.prediction_inputs import Picture
from trainer.predictor import Predictor
from trainer.runs.files import write_whole
from trainer.video import Frame, VideoWriter, new_video, open_video


def overlay_name(video: Picture) -> Path:
    """From ``a.mov`` to ``a_overlay.mp4``."""
    return Path(f"{video.below.stem}_overlay.mp4")


def predict_video(
    predictor: Predictor,
    video: Picture,
    colours: Sequence[Colour],
    out: Path,
    *,
    overlay: bool = True,
    masks: bool = False,
    opacity: float = 0.5,
    skip_existing: bool = False,
    on_frames: Callable[[int, int | None], None] | None = None,
) -> int:
    """Write the results of a video: ``NAME_overlay.mp4``, its frames shown when the video's are, and masks.

    Args:
        predictor: what looks at the frames.
        video: the file.
        colours: of the classes.
        out: the folder of the results; made where it is not there.
        overlay: write the video with the classes' colours; it has no sound.
        masks: write ``NAME_masks/000000.png`` and so on, class indices of the frames.
        opacity: the colours' share in the overlay, in [0, 1].
        skip_existing: leave alone what is there; masks go on with the first that is missing.
        on_frames: is told how many frames are done and how many there are, where the video says so.

    Returns:
        How many frames were looked at.

    Raises:
        LatencyDbError: PyAV is not installed.
        InputError: the video cannot be read, its frames are too small, or a file cannot be written.
    """
    target, folder = out / overlay_name(video), out / f"{video.below.stem}_masks"
    overlay = overlay and not (skip_existing and target.exists())
    if not (overlay or masks):
        return 0
    make_folder(folder if masks else out)
    looked_at, number = 0, -1
    with open_video(video.path) as reader, ExitStack() as stack:
        writer: VideoWriter | None = None
        for number, frame in enumerate(reader):
            mask = folder / f"{number:06d}.png"
            wants_mask = masks and not (skip_existing and mask.exists())
            if overlay or wants_mask:
                classes = predictor(frame.image, f"{video.path}, frame {number},")
                looked_at += 1
            if wants_mask:
                write_whole(mask, png_bytes(indexed(classes, colours)))
            if overlay:
                if writer is None:
                    size = frame.image.size
                    writer = stack.enter_context(new_video(target, reader.rate, reader.time_base, size))
                writer.add(Frame(blend(frame.image, classes, colours, opacity), frame.time))
            if on_frames is not None:
                on_frames(number + 1, reader.frames)
        if number < 0:
            raise InputError(f"{video.path} holds no frame that can be read")
    return looked_at
