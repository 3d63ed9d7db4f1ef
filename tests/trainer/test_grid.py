"""Networks side by side: what stands where in the picture, and which images are shown."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latency_db.errors import InputError
from tests.trainer.painted import FACTORY, paint, save, trained
from trainer.cli import main
from trainer.data import DataError, open_dataset
from trainer.data.synthetic.labels import CLASSES as STREET
from trainer.grid import NAMES, PANEL, Row, look_at, render_grid
from trainer.grid_images import choose_images, image_names
from trainer.palette import VOID, distinct_colours
from trainer.predictor import Predictor

CLASSES = ("floor", "wall", "lamp")
COLOURS = distinct_colours(3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of which each is of one class, labelled with the next; named by city."""
    root = tmp_path / "data"
    for part in ("images", "masks"):
        (root / part / "val").mkdir(parents=True)
    for index, name in enumerate(("aachen_0", "aachen_1", "bonn_0", "bonn_1", "celle_0")):
        seen = np.full((64, 128), index % 3, np.uint8)
        paint(seen, 3).save(root / "images" / "val" / f"{name}.png")
        Image.fromarray((seen + 1) % 3).save(root / "masks" / "val" / f"{name}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    return root


def flat(value: int) -> np.ndarray:
    return np.full((64, 128), value, np.uint8)


def panels(png: bytes, rows: int, columns: int) -> list[list[tuple[int, ...]]]:
    """The colour in the middle of every panel, whose places are known to a tenth of a panel."""
    pytest.importorskip("matplotlib")
    image = Image.open(io.BytesIO(png)).convert("RGB")
    width = image.width * PANEL / (NAMES + columns * PANEL)
    left, height = image.width - columns * width, width / 2
    return [
        [
            image.getpixel((round(left + (column + 0.5) * width), round(0.25 * height + (row + 0.55) * height)))
            for column in range(columns)
        ]
        for row in range(rows)
    ]


def test_columns_are_image_truth_and_networks_and_rows_are_images() -> None:
    grey, white = (90, 90, 90), (255, 255, 255)
    rows = [
        Row("first", Image.new("RGB", (128, 64), grey), flat(0), (flat(1), flat(2))),
        Row("second", Image.new("RGB", (128, 64), white), flat(255), (flat(0), flat(0))),
    ]
    png = render_grid(rows, ["one", "two"], CLASSES, COLOURS)
    assert panels(png, 2, 4) == [
        [grey, COLOURS[0], COLOURS[1], COLOURS[2]],
        [white, VOID, COLOURS[0], COLOURS[0]],
    ]


def test_the_legend_has_every_colour() -> None:
    png = render_grid([Row("x", Image.new("RGB", (128, 64)), flat(0), (flat(0),))], ["a$b_c"], CLASSES, COLOURS)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    below = pixels[-60:].reshape(-1, 3)
    for colour in (*COLOURS, VOID):
        assert (below == colour).all(1).sum() > 50


def test_names_and_titles_do_not_change_where_panels_are() -> None:
    row = Row("frankfurt_000000_000294_leftImg8bit", Image.new("RGB", (128, 64)), flat(1), (flat(2),))
    png = render_grid([row, row], ["a very long title of a network that goes on and on"], CLASSES, COLOURS)
    image = Image.open(io.BytesIO(png))
    assert image.width == round((NAMES + 3 * PANEL) * 160)


def test_a_picture_that_nobody_could_draw_is_refused() -> None:
    row = Row("x", Image.new("RGB", (64, 6400)), flat(0), (flat(0),))
    with pytest.raises(InputError, match="show fewer"):
        render_grid([row] * 5, ["one"], CLASSES, COLOURS)


def test_networks_are_looked_at_with_names_and_labels(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "val").subset([4, 1, 0])
    told: list[int] = []
    rows = look_at(
        [Predictor(trained(CLASSES)), Predictor(trained(CLASSES), size=(70, 90))], dataset, [1, 0], told.append
    )
    assert [row.name for row in rows] == ["aachen_1", "celle_0"]
    assert told == [1, 2]
    for row in rows:
        for seen in row.seen:
            np.testing.assert_array_equal(seen, flat(1))
        np.testing.assert_array_equal(row.label, flat(2))
    with pytest.raises(InputError, match="2 classes"):
        look_at([Predictor(trained(("a", "b")))], dataset, [0])


def test_a_number_of_images_is_spread_over_the_split(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "val")
    assert [choose_images(dataset, count) for count in (1, 2, 5)] == [[2], [1, 3], [0, 1, 2, 3, 4]]
    assert image_names(dataset.subset([3, 0])) == ["bonn_1", "aachen_0"]
    for wrong in (0, 6):
        with pytest.raises(DataError, match="5 images"):
            choose_images(dataset, wrong)


def test_names_may_be_cut_short_where_they_stay_clear(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "val")
    assert choose_images(dataset, ["celle", "aachen_1"]) == [4, 1]
    with pytest.raises(DataError, match="beginning of 2 names: bonn_0, bonn_1"):
        choose_images(dataset, ["bonn"])
    with pytest.raises(DataError, match=r"no image 'ulm' .*aachen_0, aachen_1, bonn_0, …"):
        choose_images(dataset, ["ulm"])
    drawn = open_dataset("synthetic", None, "val", count=12)
    assert choose_images(drawn, ["1", "11"]) == [1, 11]


def run(*arguments: Path | str) -> Result:
    return CliRunner().invoke(main, ["grid", *map(str, arguments)], catch_exceptions=False)


def test_the_command(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    models = [save(tmp_path / "run" / "model.pt", CLASSES), save(tmp_path / "other.pt", CLASSES)]
    makers = ["--network", FACTORY, "--network", FACTORY]
    common = (*models, *makers, "--dataset", "folder", "--data", folder, "--out", tmp_path / "grid.png")
    done = run(*common, "--images", "bonn_0,celle")
    assert done.exit_code == 0, done.output
    seen = panels((tmp_path / "grid.png").read_bytes(), 2, 4)
    assert seen == [
        [COLOURS[2], COLOURS[0], COLOURS[2], COLOURS[2]],
        [COLOURS[1], COLOURS[2], COLOURS[1], COLOURS[1]],
    ]
    for arguments, complaint in (
        (["--title", "one"], "--title is given 1 times for 2 networks"),
        (["--images", "a,,b"], "neither a number"),
        (["--images", "17"], "17 were asked for"),
        (["--dataset", "synthetic"], "takes no folder"),
    ):
        done = run(*common, *arguments)
        assert done.exit_code != 0
        assert complaint in done.stderr
        assert done.stderr.count("\n") == 1


def test_drawn_images_are_drawn_at_the_networks_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trainer.grid

    shown: list[Row] = []

    def keep(rows: list[Row], *_: object) -> bytes:
        shown.extend(rows)
        return b""

    monkeypatch.setattr(trainer.grid, "render_grid", keep)
    model = save(tmp_path / "model.pt", STREET, "synthetic", (64, 96))
    done = run(model, "--network", FACTORY, "--dataset", "synthetic", "--images", "2", "--out", tmp_path / "grid.png")
    assert done.exit_code == 0, done.output
    dataset = open_dataset("synthetic", None, "val", size=(64, 96))
    assert [row.name for row in shown] == ["62", "187"]
    for row in shown:
        np.testing.assert_array_equal(np.asarray(row.image), np.asarray(dataset.source.read(int(row.name)).image))


def test_without_matplotlib_it_is_said_before_anything_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(tmp_path / "nonesuch.pt", "--dataset", "folder", "--data", folder, "--out", tmp_path / "grid.png")
    assert done.exit_code == 1
    assert 'pip install "latency-db[report]"' in done.stderr
