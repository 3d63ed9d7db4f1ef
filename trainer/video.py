"""Frames out of a video and into one, one at a time. PyAV is loaded only when there is a video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from latency_db.errors import InputError, LatencyDbError
from trainer.runs.files import cannot

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
_CODEC, _QUALITY = "libx264", {"crf": "20"}
"""H.264, which everything plays; at 20, what is lost is hardly seen."""
_UNKNOWN_RATE = Fraction(25)
"""Frames per second of a video that does not say how many it has."""


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        image: mode RGB, turned as the camera noted that it was held.
        time: when it is shown, counted from the first one's, in units of the video's ``time_base``.
    """

    image: Image.Image
    time: int


class VideoReader:
    """A video that is open.

    Attributes:
        rate: frames per second, on average.
        time_base: seconds in one unit of time.
        frames: how many there are, where the file says so.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self._path, self._container, self._stream = path, container, stream
        self.rate = stream.average_rate or stream.guessed_rate or _UNKNOWN_RATE
        self.time_base = stream.time_base or 1 / self.rate
        self.frames = stream.frames or None

    def __iter__(self) -> Iterator[Frame]:
        """Frame after frame, read when it is asked for.

        Raises:
            InputError: what comes next cannot be decoded.
        """
        import av

        first: int | None = None
        last = -1
        try:
            for number, frame in enumerate(self._container.decode(self._stream)):
                # Streams without any times have a steady rate.
                time = round(number / self.rate / self.time_base) if frame.pts is None else frame.pts
                first = time if first is None else first
                # A frame that is not after the one before would be refused where it is written.
                last = max(time - first, last + 1)
                image = frame.to_image()
                yield Frame(image.rotate(frame.rotation, expand=True) if frame.rotation else image, last)
        except av.FFmpegError as error:
            raise _unreadable(self._path, error) from None


class VideoWriter:
    """A video that grows.

    Args:
        container: where to; closed by who opened it.
        rate: frames per second, on average.
        time_base: seconds in one unit of time.
        size: width and height of the frames.
    """

    def __init__(self, container: OutputContainer, rate: Fraction, time_base: Fraction, size: tuple[int, int]) -> None:
        self._container, self._time_base = container, time_base
        self._stream = cast("VideoStream", container.add_stream(_CODEC, rate=rate, options=dict(_QUALITY)))
        # Colour has half the resolution, so that a row or column too many needs another one beside it.
        self._stream.width, self._stream.height = (length + length % 2 for length in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = time_base

    def add(self, frame: Frame) -> None:
        """The next frame, of the size that all have."""
        import av

        pixels = np.asarray(frame.image)
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(even, format="rgb24")
        picture.pts, picture.time_base = frame.time, self._time_base
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Write what is still held back."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def open_video(path: Path) -> Iterator[VideoReader]:
    """A video's frames.

    Raises:
        LatencyDbError: PyAV is not installed.
        InputError: it cannot be read, or holds no video.
    """
    av = _av()
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise _unreadable(path, error) from None
    with container:
        if not container.streams.video:
            raise InputError(f"{path} holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield VideoReader(path, container, stream)


@contextmanager
def new_video(path: Path, rate: Fraction, time_base: Fraction, size: tuple[int, int]) -> Iterator[VideoWriter]:
    """A video (mp4, H.264, without sound) in the place of ``path``, once all of it is there.

    Args:
        path: the file.
        rate: frames per second, on average.
        time_base: seconds in one unit of the frames' time.
        size: width and height of the frames.

    Raises:
        LatencyDbError: PyAV is not installed.
        InputError: it cannot be written; what was there is untouched.
    """
    av = _av()
    try:
        # A folder of its own: only a file that is made anew is as readable as any other.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / path.name
            with av.open(str(fresh), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                writer = VideoWriter(container, rate, time_base, size)
                yield writer
                writer.finish()
            fresh.replace(path)
    except av.FFmpegError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    except OSError as error:
        raise cannot("write", path, error) from None


def _av() -> Any:
    try:
        import av
    except ModuleNotFoundError:
        raise LatencyDbError("a video needs PyAV", hint='pip install "latency-db[video]"') from None
    return av


def _unreadable(path: Path, error: Any) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror or error}")
