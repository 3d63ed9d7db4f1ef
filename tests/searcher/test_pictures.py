"""Pictures of a search can be drawn at any time of it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from PIL import Image

from latency_db.errors import LatencyDbError
from searcher import pictures, tracks
from searcher.history import EpochRecord
from searcher.tracks import Track, render_collapse
from tests.searcher.search_runs import epoch_record

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

DRAW: dict[str, Callable[[Sequence[EpochRecord]], bytes]] = {
    "progress": lambda records: pictures.render_progress(records, 8.3),
    "operators": pictures.render_operators,
    "widths": pictures.render_widths,
    "losses": pictures.render_losses,
    "collapse": lambda records: render_collapse([Track("one", records, 8.3)]),
}


def records(count: int, *, every: int = 1, **options: bool) -> list[EpochRecord]:
    return [epoch_record(epoch, validated=epoch >= 2 and epoch % every == 0, **options) for epoch in range(count)]


def shown(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.convert("RGB")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 60])
@pytest.mark.parametrize("name", DRAW)
def test_a_picture_can_be_drawn_at_any_time(name: str, count: int) -> None:
    image = shown(DRAW[name](records(count)))
    assert 1200 < image.width < 1400
    colours = image.getcolors(maxcolors=1 << 20)
    assert colours is not None and len(colours) > 10


def test_points_are_the_validated_epochs() -> None:
    found = Track("one", records(8, every=3)).points()
    assert [epoch for epoch, _, _ in found] == [4, 7]
    record = epoch_record(3)
    assert found[0][1:] == (record.latency_ms["student"], 100 * (record.mean_miou("student") or 0))


def test_several_searches_share_a_picture_and_labels_are_literal() -> None:
    many = [Track(f"$run_{{{index}}}$ " + "x" * index, records(5, collapse=index % 2 == 0)) for index in range(12)]
    shown(render_collapse([*many, Track("not yet", [])], title="$x$ " * 40))


def test_operators_of_another_space_have_colours_too() -> None:
    other = [
        replace(record, operators={role: {"a$b$": 0.5, "c": 0.5} for role in ("student", "teacher")})
        for record in records(4)
    ]
    shown(pictures.render_operators(other))


def test_a_search_that_stays_does_not_seem_to_travel() -> None:
    from latency_db.report.style import new_figure

    axes = new_figure(4, 4).subplots()
    axes.scatter([10.0, 10.01], [0.1, 0.2])
    tracks._widen(axes)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert right - left > 2
    assert low >= -1.5 and high > 5


def test_without_matplotlib_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    for draw in DRAW.values():
        with pytest.raises(LatencyDbError, match=r"needs matplotlib \(pip install"):
            draw(records(3))


def test_nothing_heavy_is_loaded_before_a_picture_is_drawn() -> None:
    check = (
        "import sys, searcher.pictures, searcher.history; "
        "assert not {'matplotlib', 'torch', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
