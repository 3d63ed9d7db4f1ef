"""Videos: every frame, when it was, in colours."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latency_db.errors import InputError
from tests.trainer.painted import FACTORY, blocks, paint, save
from trainer.cli import main
from trainer.palette import class_colours
from trainer.video import Frame, new_video, open_video

av = pytest.importorskip("av")

CLASSES = ("floor", "wall", "lamp")
FRAMES = 7
RATE = Fraction(30000, 1001)


def seen(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Classes of a frame: blocks that move on by one each frame."""
    return (blocks(3, height, width, 32) + number).astype(np.uint8) % 3


def film(path: Path, height: int = 64, width: int = 96, frames: int = FRAMES, rate: Fraction = RATE) -> Path:
    """A video that the painted network sees :func:`seen` in, written by PyAV alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.qmax = 2
        for number in range(frames):
            pixels = np.asarray(paint(seen(number, height, width), 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "model.pt", CLASSES)


def run(*arguments: Path | str) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments), "--network", FACTORY], catch_exceptions=False)


def test_an_overlay_has_the_frames_and_the_rate_of_the_video(model: Path, tmp_path: Path) -> None:
    film(tmp_path / "drive.mp4")
    out = tmp_path / "out"
    done = run(model, tmp_path / "drive.mp4", "--out", out, "--opacity", "1")
    assert done.exit_code == 0, done.output
    assert [path.name for path in out.iterdir()] == ["drive_overlay.mp4"]
    with av.open(str(out / "drive_overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == RATE
        assert stream.frames == FRAMES
        assert stream.codec_context.name == "h264"
    frames = frames_of(out / "drive_overlay.mp4")
    assert len(frames) == FRAMES
    colours = np.array(class_colours(None, CLASSES), dtype=int)
    for number, frame in enumerate(frames):
        # The middles of the blocks: coding blurs their edges.
        middles = np.s_[16::32, 16::32]
        assert np.abs(frame[middles].astype(int) - colours[seen(number)[middles]]).max() < 30


def test_masks_come_only_when_they_are_asked_for(model: Path, tmp_path: Path) -> None:
    film(tmp_path / "drive.avi")
    out = tmp_path / "out"
    assert run(model, tmp_path / "drive.avi", "--out", out, "--what", "mask").exit_code == 0
    assert [path.name for path in out.iterdir()] == ["drive_masks"]
    masks = sorted((out / "drive_masks").iterdir())
    assert [path.name for path in masks] == [f"{number:06d}.png" for number in range(FRAMES)]
    for number, path in enumerate(masks):
        mask = Image.open(path)
        assert mask.mode == "P"
        assert (np.asarray(mask) == seen(number)).mean() > 0.9


def test_skip_existing_writes_what_is_missing(model: Path, tmp_path: Path) -> None:
    film(tmp_path / "drive.mp4")
    out = tmp_path / "out"
    both = (model, tmp_path / "drive.mp4", "--out", out, "--what", "overlay,mask")
    assert run(*both).exit_code == 0
    before = (out / "drive_overlay.mp4").stat().st_mtime_ns
    (out / "drive_masks" / "000003.png").unlink()
    done = run(*both, "--skip-existing")
    assert "1 frames of drive.mp4" in done.stdout
    assert (out / "drive_masks" / "000003.png").exists()
    assert (out / "drive_overlay.mp4").stat().st_mtime_ns == before
    done = run(model, tmp_path / "drive.mp4", "--out", out, "--skip-existing")
    assert "0 frames of drive.mp4" in done.stdout


def test_odd_sizes_get_a_row_and_a_column_more(tmp_path: Path) -> None:
    image = paint(seen(0, 65, 97), 3)
    with new_video(tmp_path / "odd.mp4", Fraction(10), Fraction(1, 10), image.size) as writer:
        for time in range(3):
            writer.add(Frame(image, time))
    frames = frames_of(tmp_path / "odd.mp4")
    assert [frame.shape for frame in frames] == [(66, 98, 3)] * 3


def test_frames_keep_their_times_where_the_rate_varies(model: Path, tmp_path: Path) -> None:
    times = [0, 100, 150, 400, 1000]
    image = paint(seen(0), 3)
    with new_video(tmp_path / "varies.mp4", Fraction(10), Fraction(1, 1000), image.size) as writer:
        for time in times:
            writer.add(Frame(image, time))
    assert run(model, tmp_path / "varies.mp4", "--out", tmp_path / "out").exit_code == 0
    for path in (tmp_path / "varies.mp4", tmp_path / "out" / "varies_overlay.mp4"):
        with open_video(path) as reader:
            assert [round(frame.time * reader.time_base * 1000) for frame in reader] == times


def turn(path: Path) -> None:
    """Note in the track header that the camera was held on its side; not every PyAV can write that."""
    content = bytearray(path.read_bytes())
    # ISO/IEC 14496-12, 8.3.2, version 0: the matrix comes 40 bytes after the box's type, as 16.16 and 2.30 fixed point.
    start = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    content[start : start + 36] = struct.pack(">9i", 0, -one, 0, one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def test_a_video_is_seen_as_its_camera_was_held(tmp_path: Path) -> None:
    classes = seen(0)
    pixels = np.asarray(paint(classes, 3))
    with av.open(str(tmp_path / "held.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    turn(tmp_path / "held.mp4")
    with open_video(tmp_path / "held.mp4") as reader:
        (frame,) = reader
    assert frame.image.size == (64, 96)
    turned = np.rot90(pixels)
    middles = np.s_[16::32, 16::32]
    assert np.abs(np.asarray(frame.image)[middles].astype(int) - turned[middles]).max() < 40


def test_nothing_is_left_of_a_video_that_was_not_finished(tmp_path: Path) -> None:
    target = tmp_path / "x.mp4"
    target.write_bytes(b"the one before")
    image = paint(seen(0), 3)
    with (
        pytest.raises(InputError, match="so it is"),
        new_video(target, RATE, 1 / RATE, image.size) as writer,
    ):
        writer.add(Frame(image, 0))
        raise InputError("so it is")
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
    assert target.read_bytes() == b"the one before"


def test_what_is_no_video_is_said_in_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    film(tmp_path / "small.mp4", 32, 48)
    for name, complaint in (
        ("broken.mp4", "cannot read"),
        ("sound.mp4", "holds no video"),
        ("small.mp4", "frame 0, is 32x48"),
    ):
        done = run(model, tmp_path / name, "--out", tmp_path / "out")
        assert done.exit_code == 1, name
        assert complaint in done.stderr
        assert done.stderr.count("\n") == 1
        assert not list((tmp_path / "out").iterdir())


def test_without_the_library_the_command_that_mends_it_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "drive.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    done = run(model, tmp_path / "drive.mp4", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert 'pip install "latency-db[video]"' in done.stderr


def test_two_videos_of_one_name_are_refused(model: Path, tmp_path: Path) -> None:
    film(tmp_path / "drive.mp4")
    film(tmp_path / "drive.avi")
    done = run(model, tmp_path / "drive.mp4", tmp_path / "drive.avi", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "would both become" in done.stderr
