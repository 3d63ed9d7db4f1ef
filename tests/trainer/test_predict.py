"""What is written for images holds what the network sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from latency_db.errors import InputError
from tests.trainer.painted import FACTORY, blocks, nearest_colour, paint, save, trained
from trainer.cli import main
from trainer.data import cityscapes
from trainer.data.dataset import normalise
from trainer.losses import upsampled
from trainer.palette import class_colours, distinct_colours
from trainer.predict import predict_images
from trainer.prediction_inputs import find_inputs
from trainer.predictor import Predictor

CLASSES = ("floor", "wall", "lamp", "door", "sky")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "model.pt", CLASSES)


def run(*arguments: Path | str) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments), "--network", FACTORY], catch_exceptions=False)


def painted(path: Path, height: int = 64, width: int = 96, count: int = len(CLASSES)) -> np.ndarray:
    classes = blocks(count, height, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    paint(classes, count).save(path)
    return classes


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_mask_holds_class_indices_and_an_overlay_their_colours_on_the_image(model: Path, tmp_path: Path) -> None:
    classes = painted(tmp_path / "street.png", 70, 99)
    done = run(model, tmp_path / "street.png", "--out", tmp_path / "out", "--opacity", "0.25")
    assert done.exit_code == 0, done.output
    mask = Image.open(tmp_path / "out" / "street_mask.png")
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), classes)
    colours = np.array(class_colours(None, CLASSES))[classes]
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), colours)
    image = read(tmp_path / "street.png")
    overlay = read(tmp_path / "out" / "street_overlay.png")
    np.testing.assert_allclose(overlay, 0.75 * image + 0.25 * colours, atol=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["street_mask.png", "street_overlay.png"]


def test_classes_are_the_argmax_at_the_images_own_resolution() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8))
    found = Predictor(trained(CLASSES), size=(64, 80))(image)
    small = image.resize((80, 64), Image.Resampling.BILINEAR)
    with torch.inference_mode():
        logits = nearest_colour(5)(normalise(small)[None])
    expected = upsampled(logits, torch.zeros(1, 90, 130)).argmax(1)[0].numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8
    assert len(np.unique(found)) == 5


def test_a_folder_keeps_its_shape_and_what_is_asked_for_is_all_there_is(model: Path, tmp_path: Path) -> None:
    painted(tmp_path / "in" / "a" / "x.png")
    painted(tmp_path / "in" / "b" / "x.jpg")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert run(model, tmp_path / "in", "--out", tmp_path / "out", "--what", "mask").exit_code == 0
    out = tmp_path / "out"
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["a/x_mask.png", "b/x_mask.png"]


def test_images_of_any_kind_and_size(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index, (mode, size) in enumerate([("L", (64, 64)), ("RGBA", (101, 67)), ("P", (200, 65)), ("CMYK", (77, 99))]):
        Image.new(mode, size).save(folder / f"{index}.{'jpg' if mode == 'CMYK' else 'png'}")
        done = run(model, folder / f"{index}.{'jpg' if mode == 'CMYK' else 'png'}", "--out", tmp_path / "out")
        assert done.exit_code == 0, done.output
        assert Image.open(tmp_path / "out" / f"{index}_mask.png").size == size


def test_a_photograph_is_seen_as_its_camera_was_held(model: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "held.jpg", exif=exif)
    assert run(model, tmp_path / "held.jpg", "--out", tmp_path / "out").exit_code == 0
    assert Image.open(tmp_path / "out" / "held_overlay.png").size == (64, 96)


def test_skip_existing_goes_on_where_results_are_missing(model: Path, tmp_path: Path) -> None:
    for name in "abc":
        painted(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    assert run(model, tmp_path / "in", "--out", out).exit_code == 0
    whole = (out / "b_mask.png").read_bytes()
    (out / "a_mask.png").write_bytes(b"kept")
    (out / "b_overlay.png").unlink()
    done = run(model, tmp_path / "in", "--out", out, "--skip-existing")
    assert "1 images, 2 were there already" in done.stdout
    assert (out / "a_mask.png").read_bytes() == b"kept"
    assert (out / "b_overlay.png").exists()
    assert run(model, tmp_path / "in", "--out", out).exit_code == 0
    assert (out / "a_mask.png").read_bytes() != b"kept"
    assert (out / "b_mask.png").read_bytes() == whole


def test_progress_is_told_and_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    painted(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:-40])
    told: list[int] = []

    class Marks:
        def name(self, picture: Path) -> Path:
            return picture.with_suffix(".txt")

        def encode(self, image: Image.Image, classes: np.ndarray) -> bytes:
            return str(classes.shape).encode()

    with pytest.raises(InputError, match=r"cannot read .*b\.png"):
        predict_images(
            *(Predictor(trained(CLASSES)), find_inputs([tmp_path / "in"]).images, [Marks()], tmp_path / "out"),
            on_images=told.append,
        )
    assert told == [1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]


def nothing(folder: Path) -> list[Path | str]:
    return [folder / "nonesuch.png"]


def text(folder: Path) -> list[Path | str]:
    (folder / "notes.txt").write_text("no image")
    return [folder / "notes.txt"]


def no_image(folder: Path) -> list[Path | str]:
    (folder / "in.png").write_text("no image")
    return [folder / "in.png"]


def empty(folder: Path) -> list[Path | str]:
    (folder / "in").mkdir()
    return [folder / "in"]


def small(folder: Path) -> list[Path | str]:
    painted(folder / "small.png", 63, 96)
    return [folder / "small.png"]


def twice(folder: Path) -> list[Path | str]:
    painted(folder / "a" / "x.png")
    painted(folder / "b" / "x.png")
    return [folder / "a", folder / "b"]


def deep(folder: Path) -> list[Path | str]:
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(folder / "deep.png")
    return [folder / "deep.png"]


def unknown_what(folder: Path) -> list[Path | str]:
    painted(folder / "x.png")
    return [folder / "x.png", "--what", "overlay,heat"]


@pytest.mark.parametrize(
    ("arrange", "complaint"),
    [
        (nothing, "there is no file"),
        (text, "neither an image nor a video"),
        (no_image, "not an image"),
        (empty, "holds no image"),
        (small, "is 63x96; networks take 64x64"),
        (twice, "would both become"),
        (deep, "8 bits a channel"),
        (unknown_what, "'overlay,heat'"),
    ],
)
def test_mistakes_are_one_line(
    model: Path, tmp_path: Path, arrange: Callable[[Path], list[Path | str]], complaint: str
) -> None:
    done = run(model, *arrange(tmp_path), "--out", tmp_path / "out")
    assert done.exit_code != 0
    assert complaint in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("below", ["", "results"])
def test_results_do_not_go_among_the_images(model: Path, tmp_path: Path, below: str) -> None:
    painted(tmp_path / "in" / "x.png")
    done = run(model, tmp_path / "in", "--out", tmp_path / "in" / below)
    assert done.exit_code == 1
    assert "name an --out elsewhere" in done.stderr
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["x.png"]


def test_a_size_brings_small_images_to_what_networks_take(model: Path, tmp_path: Path) -> None:
    painted(tmp_path / "small.png", 32, 48)
    assert run(model, tmp_path / "small.png", "--out", tmp_path / "out", "--size", "64x96").exit_code == 0
    assert Image.open(tmp_path / "out" / "small_mask.png").size == (48, 32)


LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Of the 19 train ids in order, as Cityscapes' own scripts list them."""


@pytest.fixture
def cityscapes_model(tmp_path: Path) -> Path:
    return save(tmp_path / "cityscapes.pt", cityscapes.CLASSES, "cityscapes")


def test_a_submission_holds_the_label_ids_of_all_19_classes(cityscapes_model: Path, tmp_path: Path) -> None:
    classes = painted(tmp_path / "test" / "berlin" / "berlin_000000_000019_leftImg8bit.png", 72, 120, 19)
    out = tmp_path / "out"
    done = run(cityscapes_model, tmp_path / "test", "--out", out, "--cityscapes-submission", "--size", "own")
    assert done.exit_code == 0, done.output
    (path,) = out.rglob("*.*")
    assert path == out / "berlin_000000_000019_labelIds.png"
    result = Image.open(path)
    assert (result.mode, result.size) == ("L", (120, 72))
    np.testing.assert_array_equal(np.asarray(result), np.array(LABEL_IDS)[classes])
    assert set(np.unique(np.asarray(result))) == set(LABEL_IDS)
    # The labels' decoder is the way back.
    known = {label_id: train_id for label_id, train_id in cityscapes.TRAIN_IDS.items() if train_id != 255}
    assert [known[label_id] for label_id in LABEL_IDS] == list(range(19))


def test_a_submission_is_refused_where_the_server_would(cityscapes_model: Path, model: Path, tmp_path: Path) -> None:
    name = "berlin_000000_000019_leftImg8bit.png"
    painted(tmp_path / "test" / name)
    out = tmp_path / "out"

    def complaint(checkpoint: Path, *arguments: Path | str) -> str:
        done = run(checkpoint, *arguments, "--out", out, "--cityscapes-submission")
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "5 classes of folder" in complaint(model, tmp_path / "test")
    painted(tmp_path / "other" / "berlin.png")
    assert "<city>_<sequence>_<frame>" in complaint(cityscapes_model, tmp_path / "other")
    assert "--what does not go with it" in complaint(cityscapes_model, tmp_path / "test", "--what", "mask")
    (tmp_path / "v.mp4").touch()
    assert "is a video" in complaint(cityscapes_model, tmp_path / "v.mp4")
    painted(out / "old" / "berlin_000000_000019_mask.png")
    assert "second result of berlin_000000_000019" in complaint(cityscapes_model, tmp_path / "test")


def test_colours_of_a_known_data_set_are_its_own(cityscapes_model: Path, tmp_path: Path) -> None:
    painted(tmp_path / "x.png", 64, 64, 19)
    assert run(cityscapes_model, tmp_path / "x.png", "--out", tmp_path / "out", "--opacity", "1").exit_code == 0
    assert tuple(read(tmp_path / "out" / "x_overlay.png")[0, 0]) == (128, 64, 128)
    assert distinct_colours(1)[0] != (128, 64, 128)
