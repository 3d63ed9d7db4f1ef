"""``searcher compare`` shows searches side by side and says which cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from latency_db.keys import ImageSize
from searcher.cli.compare import compare
from searcher.comparison import compare_runs
from searcher.past_run import read_run
from tests.searcher.search_runs import search_config, write_run


def invoke(*arguments: Path | str) -> Result:
    return CliRunner().invoke(compare, [str(argument) for argument in arguments], catch_exceptions=False)


def lines(*arguments: Path | str) -> list[str]:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return write_run(tmp_path / "one")


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    return write_run(tmp_path / "unfinished", epochs=5, finished=False)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    size = ImageSize(256, 512)
    return write_run(
        tmp_path / "elsewhere",
        result={"device": "cpu", "target": "cpu ort", "image_size": size},
        config=search_config(device="cpu", image_size=str(size)),
    )


def test_every_run_is_a_line(one: Path, unfinished: Path) -> None:
    header, first, second = lines(one, unfinished)
    assert header.startswith("run")
    for words in (
        "one",
        "1080ti",
        "paper (0.001, 0.997, 0.002)",
        "1/16, 1/32",
        "8.100",
        "50.0%",
        "20.000",
        "12/12",
        "1.50",
    ):
        assert words in first
    assert "5/12" in second and "unfinished" in second
    assert "not comparable" not in first + second


def test_another_device_and_image_are_marked(one: Path, elsewhere: Path) -> None:
    _, first, second = lines(one, elsewhere)
    assert first.endswith("1.50")
    assert second.endswith("not comparable: another device, target, image size")
    labels = [each.track().label for each in compare_runs([read_run(one), read_run(elsewhere)])]
    assert labels == ["one", "elsewhere (not comparable: another device, target, image size)"]


def test_other_images_of_the_same_name_are_marked(one: Path, tmp_path: Path) -> None:
    config = search_config()
    fewer = config.model_copy(update={"data": config.data.model_copy(update={"count": 10})})
    moved = config.model_copy(update={"data": config.data.model_copy(update={"folder": "/elsewhere"})})
    runs = [one, write_run(tmp_path / "fewer", config=fewer), write_run(tmp_path / "moved", config=moved)]
    assert [each.differs for each in compare_runs([read_run(run) for run in runs])] == [(), ("data",), ()]


def test_runs_of_one_name_are_told_apart(one: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "more" / "one")
    assert [each.name for each in compare_runs([read_run(one), read_run(other)])] == [str(one), str(other)]


def test_json_has_all_of_it(one: Path, unfinished: Path, elsewhere: Path) -> None:
    first, second, third = json.loads("\n".join(lines(one, unfinished, elsewhere, "--json")))
    assert (first["student"]["branches"], first["weights"], first["weights_rule"]) == (
        [16, 32],
        [0.001, 0.997, 0.002],
        "paper",
    )
    assert (first["seconds"], first["epochs"], first["not_comparable"]) == (5400.0, 12, [])
    assert (second["finished"], second["student"], second["epochs"], second["epochs_planned"]) == (False, None, 5, 12)
    assert third["not_comparable"] == ["device", "target", "image size"]


def test_the_picture_is_of_all_of_them(one: Path, unfinished: Path, elsewhere: Path, tmp_path: Path) -> None:
    output = tmp_path / "compare.png"
    assert len(lines(one, unfinished, elsewhere, "--output", output)) == 4
    assert output.read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_no_search_is_one_line(one: Path, tmp_path: Path) -> None:
    from searcher.cli import main

    done = CliRunner().invoke(main, ["compare", str(one), str(tmp_path / "missing")])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1
    assert "missing is no folder of a search" in done.stderr
