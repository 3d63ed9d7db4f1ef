"""Pictures of architectures: nothing lies on anything else, and the file is what its name says."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from searcher.cli import main
from searcher.drawing import colour_of, draw_architecture
from searcher.drawing_layout import Box, Line, lay_out
from searcher.space import FasterSegSpace
from trainer.architecture import Architecture
from trainer.builtin import BUILTIN, FASTERSEG_STUDENT

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

SPACES = {
    "default": FasterSegSpace(),
    "one branch": FasterSegSpace(branches=1, output="full"),
    "four scales": FasterSegSpace(scales=(8, 16, 32, 64), branches=4, layers=10),
    "one scale": FasterSegSpace(scales=(8,), branches=1, layers=3),
    "short": FasterSegSpace(layers=3, branches=3),
}


def architectures() -> Iterator[Architecture]:
    yield from BUILTIN.values()
    for space in SPACES.values():
        for seed in range(30):
            yield space.sample(random.Random(seed))


def test_every_cell_is_there_once_and_no_two_boxes_touch() -> None:
    for architecture in architectures():
        layout = lay_out(architecture)
        cells = {cell.place for branch in architecture.branches for cell in branch.cells}
        merges = sum((branch.s // 8).bit_length() - 1 for branch in architecture.branches)
        around = 4 if architecture.output == "full" else 3
        assert len(layout.boxes) == len(cells) + merges + around
        for one, two in itertools.combinations(layout.boxes, 2):
            beside = one.right < two.x or two.right < one.x
            assert beside or abs(one.y - two.y) > (one.height + two.height) / 2, (one, two)
        for box in layout.boxes:
            assert box.x >= 0 and box.right <= layout.width
            assert box.y - box.height / 2 >= 0 and box.y + box.height / 2 <= layout.height


def crosses(line: Line, box: Box) -> bool:
    """Whether a straight piece of the line runs through the inside of the box."""
    inner = 0.01
    left, right = box.x + inner, box.right - inner
    low, high = box.y - box.height / 2 + inner, box.y + box.height / 2 - inner
    for (x, y), (u, v) in itertools.pairwise(line.points):
        if max(x, u) > left and min(x, u) < right and max(y, v) > low and min(y, v) < high:
            return True
    return False


def test_no_line_runs_through_a_box() -> None:
    for architecture in architectures():
        layout = lay_out(architecture)
        for line, box in itertools.product(layout.lines, layout.boxes):
            assert not crosses(line, box), (line, box)


def test_what_is_written_in_the_cells() -> None:
    texts = {box.text: box.finals for box in lay_out(FASTERSEG_STUDENT).boxes}
    assert texts["zoomed", "χ 8 · 128"] == (32,)
    assert texts["zoomed ×2", "χ 12 · 192"] == (16,)
    assert texts["conv ×2", "χ 4 · 32"] in ((16, 32), (16,))
    assert texts["fuse", "128"] == ()
    shared = [box for box in lay_out(FASTERSEG_STUDENT).boxes if box.finals == (16, 32)]
    assert len(shared) == 3, "the first three operators (section 4.1 of the paper)"


def test_the_picture_is_the_same_every_time_and_shows_both_branches() -> None:
    png = draw_architecture(FASTERSEG_STUDENT, title="$literal$")
    assert png == draw_architecture(FASTERSEG_STUDENT, title="$literal$")
    image = Image.open(io.BytesIO(png)).convert("RGB")
    colours = image.getcolors(maxcolors=1 << 20)
    assert colours is not None
    present = {"#{:02x}{:02x}{:02x}".format(*colour) for _, colour in colours if isinstance(colour, tuple)}
    assert {colour_of(16), colour_of(32)} <= present


@pytest.mark.parametrize("name", SPACES)
def test_any_architecture_can_be_drawn(name: str) -> None:
    assert draw_architecture(SPACES[name].sample(random.Random(1))).startswith(b"\x89PNG")


def test_show_writes_a_picture_of_what_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    result = runner.invoke(main, ["show", "fasterseg-student"])
    assert result.exit_code == 0 and result.output == "fasterseg-student.png\n", result.output
    assert (tmp_path / "fasterseg-student.png").read_bytes().startswith(b"\x89PNG")
    assert runner.invoke(main, ["show", "fasterseg-student", "-o", "x.SVG"]).exit_code == 0
    assert b"<svg" in (tmp_path / "x.SVG").read_bytes()
    for arguments, message in (
        (["show", "nothing"], "no file nothing"),
        (["show", "fasterseg-student", "-o", "x.pdf"], "ends in .png or .svg"),
        (["show", "fasterseg-student", "-o", "none/x.png"], "cannot write"),
    ):
        result = runner.invoke(main, arguments)
        assert result.exit_code == 1 and message in result.stderr and len(result.stderr.splitlines()) == 1
