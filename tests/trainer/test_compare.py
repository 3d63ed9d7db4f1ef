"""``trainer compare`` on a simulated machine, and once on the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latency_db.keys import ImageSize
from latency_db.store import Store
from tests.fakes import World
from tests.latency_db.program import the_line
from tests.trainer.measuring import document, invoke
from trainer.compare import OWN, default_names, paper_row
from trainer.subject import find_subject
from trainer.zoo import ZOO

SMALL = ("--image-size", "64x64", "--rel-ci", "0.03")
PAIR = ("compare", "fast-scnn", "fasterseg-student", *SMALL)


def test_all_are_measured_in_one_run_one_network_at_a_time(world: World, database: Path) -> None:
    names = ["fast-scnn", "bisenet-x39", "fasterseg-student"]
    found = document(database, "compare", *names, *SMALL, "--image-size", "64x128")
    assert [(row["network"], row["image_size"]) for row in found["results"]] == [
        (name, size) for size in ("64x64", "64x128") for name in names
    ]
    for row in found["results"]:
        name = f"{row['network']} at {row['image_size']}"
        assert row["latency_ms"] == pytest.approx(world.undisturbed(name), rel=0.01)
        assert row["fps"] == pytest.approx(1e3 / row["latency_ms"])
        assert row["parameters"] > 1e5 and row["macs"] > 1e6 and row["output_shape"][1] == 19
        assert row["human_designed"] == (row["network"] != "fasterseg-student")
    for size in ("64x64", "64x128"):
        rows = [row for row in found["results"] if row["image_size"] == size]
        fastest = max(row["fps"] for row in rows if row["human_designed"])
        assert [row["relative_fps"] for row in rows] == [pytest.approx(row["fps"] / fastest) for row in rows]
    assert world.most_open == 2, "the network and the reference"
    with Store.open(str(database)) as store:
        (run,) = store.runs()
        assert len(store.network_visits(run.target_id, run_id=run.id)) == 2 * len(names)


def test_without_names_it_is_the_zoo_and_the_student() -> None:
    assert default_names() == [*ZOO, "fasterseg-student"]


def test_one_round_visits_every_network_before_the_next_begins(
    world: World, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    cost = world.undisturbed

    def noted(name: str) -> float:
        order.append(name)
        return cost(name)

    monkeypatch.setattr(world, "undisturbed", noted)
    document(database, "compare", "fast-scnn", "enet", "icnet", *SMALL)
    visits = [name for name in order if name != "reference"]
    rounds = [visits[start : start + 3] for start in range(0, 15, 3)]
    assert all(len(set(one)) == 3 for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1, "shuffled"


def test_own_resolutions_are_those_of_table_4(world: World, database: Path) -> None:
    result = invoke(database, "compare", "--own-resolution", "--rel-ci", "0.1", "--json")
    assert result.exit_code == 0
    rows = {row["network"]: row for row in json.loads(result.stdout)["results"]}
    assert {name: row["image_size"] for name, row in rows.items()} == {
        "enet": "512x1024",
        "icnet": "1024x2048",
        "bisenet-x39": "768x1536",
        "fast-scnn": "1024x2048",
        "df1-seg-d8": "1024x2048",
        "fasterseg-student": "1024x2048",
    }
    assert {row["group"] for row in rows.values()} == {OWN}
    assert rows["fasterseg-student"]["paper"]["fps"] == 163.9
    assert "drn-d-22 is not in the paper's Table 4" in result.stderr


def test_the_papers_figures_stand_with_their_own_resolution(world: World, database: Path) -> None:
    text = invoke(database, "compare", "enet", "drn-d-22", *SMALL).stdout
    assert "76.9 @512x1024" in text and "21 @720x1280" in text
    row = paper_row(find_subject("fasterseg-student"), ImageSize(720, 960))
    assert row is not None and row.fps == 398.1, "the row of the size that was measured"
    assert paper_row(find_subject("bisenet-r18"), ImageSize(720, 960)) is None


def test_without_a_human_designed_network_nothing_is_relative_to_one(world: World, database: Path) -> None:
    found = document(database, "compare", "fasterseg-student", *SMALL)
    assert found["results"][0]["relative_fps"] is None and found["results"][0]["latency_ms"] > 0


def test_one_that_cannot_be_measured_does_not_stop_the_others(world: World, database: Path) -> None:
    world.broken["fast-scnn at 64x64"] = "no kernel"
    result = invoke(database, *PAIR, "--json")
    assert result.exit_code == 1
    broken, student = json.loads(result.stdout)["results"]
    assert broken["latency_ms"] is None and "no kernel" in broken["not_measured"]
    assert student["latency_ms"] > 0 and student["relative_fps"] is None
    assert "Error: fast-scnn at 64x64 was not measured" in result.stderr


def test_time_that_is_up_is_said_of_those_who_had_no_turn(world: World, database: Path) -> None:
    world.cost_ms = lambda name: 1000.0
    result = invoke(database, *PAIR, "--time-budget", "1s")
    assert result.exit_code == 1 and "time was up before its turn" in result.stderr


def test_a_comparison_that_was_cut_short_goes_on(world: World, database: Path) -> None:
    def interrupt(name: str) -> None:
        if world.runs > 150:
            raise KeyboardInterrupt

    world.before_run = interrupt
    assert invoke(database, *PAIR).exit_code == 130
    world.before_run = lambda name: None
    other = document(database, "compare", "fast-scnn", *SMALL)
    assert other["kept_visits"] == 0, "it is another comparison"
    found = document(database, *PAIR)
    assert found["kept_visits"] > 0
    assert sum(row["visits"] for row in found["results"]) == found["visits"] + found["kept_visits"]


def test_the_same_network_twice_is_measured_once(world: World, database: Path) -> None:
    first, second = document(database, "compare", "fast-scnn", "fast-scnn", *SMALL)["results"]
    assert first == second
    assert world.compiled.count("fast-scnn at 64x64") == 1


def test_the_folder_has_the_picture_and_the_figures(world: World, database: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = tmp_path / "deep" / "out"
    found = document(database, *PAIR, "--out", str(folder), "--own-resolution")
    assert {path.name for path in folder.iterdir()} == {"comparison.json", "comparison.png"}
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8")) == found
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("drn-d-22", "--own-resolution"), "Table 4 has no drn-d-22"),
        (("nothere",), "there is no file nothere"),
        (("enet", "--rel-ci", "0"), "not between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(world: World, database: Path, arguments: tuple[str, ...], says: str) -> None:
    world.before_run = lambda name: pytest.fail("it was measured")
    assert says in the_line(invoke(database, "compare", *arguments))


def test_an_out_that_cannot_be_written_is_found_before_measuring(world: World, database: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    world.before_run = lambda name: pytest.fail("it was measured")
    (tmp_path / "file").write_text("")
    assert "cannot write" in the_line(invoke(database, *PAIR, "--out", str(tmp_path / "file" / "out")))


@pytest.mark.alone
def test_with_the_real_runtime(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n\ndef tiny(num_classes):\n    return nn.Conv2d(3, num_classes, 3, stride=8)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ("my_networks:tiny", "fast-scnn", "--image-size", "64x64", "--time-budget", "2s", "--classes", "5")
    mine, zoo = document(database, "compare", *arguments)["results"]
    assert 0 < mine["latency_ms"] < zoo["latency_ms"] and zoo["relative_fps"] == 1.0 < mine["relative_fps"]
    assert (mine["parameters"], mine["kind"]) == (3 * 9 * 5 + 5, "module")
    with Store.open(str(database)) as store:
        assert {row.space for row in store.networks(range(10)).values()} == {"module", "zoo"}
