"""``trainer bench`` on a simulated machine, and once on the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latency_db.keys import ImageSize
from latency_db.store import Store
from tests.fakes import World
from tests.latency_db.program import document as latency_db
from tests.latency_db.program import the_line
from tests.trainer.measuring import document, invoke
from trainer.builtin import FASTERSEG_STUDENT
from trainer.subject import Subject, find_subject, space_settings

SMALL = ("--image-size", "64x64", "--rel-ci", "0.03")
STUDENT = ("bench", "fasterseg-student", *SMALL, "--calibration-networks", "6")


def test_a_network_of_the_space_is_predicted_from_the_same_run(world: World, database: Path) -> None:
    found = document(database, *STUDENT)
    assert found["predicted_ms"] == pytest.approx(found["measured_ms"], rel=0.02)
    assert found["error"] == pytest.approx(found["predicted_ms"] / found["measured_ms"] - 1)
    assert found["calibration"]["networks"] == 6
    assert found["fps"] == pytest.approx(1e3 / found["measured_ms"])
    assert found["measured_rel_ci"] <= 0.03 and found["stopped"] == "confident"
    with Store.open(str(database)) as store:
        (run,) = store.runs()
        assert (run.kind, run.status, run.id) == ("validate", "completed", found["run"])
        # The network, those that calibrate, and the operators, all by one run.
        assert len(store.network_visits(run.target_id, run_id=run.id)) == 7
        assert store.visit_ratios(run.target_id, run_id=run.id)
        student = [row for row in store.networks(range(100)).values() if row.id not in run.plan["calibrating"]]
    assert [row.architecture for row in student] == [FASTERSEG_STUDENT.to_json()]


def test_without_calibration_the_prediction_is_the_plain_sum(world: World, database: Path) -> None:
    found = document(database, "bench", "fasterseg-student", *SMALL, "--calibration-networks", "0")
    assert found["error"] == pytest.approx(1 / 0.9 - 1, abs=0.01), "the simulated factor is the error"


def test_stored_measures_the_network_alone(world: World, database: Path) -> None:
    line = the_line(invoke(database, *STUDENT, "--stored"))
    assert "latency-db profile --backend fake --device simulated --image-size 64x64" in line
    first = document(database, *STUDENT)
    with Store.open(str(database)) as store:
        (target,) = store.targets()
        operators = sum(1 for _ in store.raw_measurements(target.id))
    again = document(database, *STUDENT, "--stored")
    assert again["run"] != first["run"]
    with Store.open(str(database)) as store:
        assert sum(1 for _ in store.raw_measurements(target.id)) == operators
    assert again["predicted_ms"] == pytest.approx(first["predicted_ms"], rel=1e-3)


def test_a_zoo_network_is_measured_only(world: World, database: Path) -> None:
    found = document(database, "bench", "fast-scnn", *SMALL)
    assert found["measured_ms"] == pytest.approx(world.undisturbed("fast-scnn at 64x64"), rel=0.01)
    assert found["predicted_ms"] is None and found["error"] is None
    with Store.open(str(database)) as store:
        (row,) = store.networks(range(10)).values()
    assert (row.space, row.image, dict(row.space_settings)) == ("zoo", ImageSize(64, 64), {"num_classes": 19})
    assert row.architecture == {"kind": "zoo", "name": "fast-scnn"}
    text = invoke(database, "bench", "fast-scnn", *SMALL).stdout
    assert "no prediction" in text and "measured:" in text


def test_other_classes_are_another_network(world: World, database: Path) -> None:
    document(database, "bench", "fast-scnn", *SMALL)
    document(database, "bench", "fast-scnn", *SMALL, "--classes", "11")
    with Store.open(str(database)) as store:
        assert sorted(row.space_settings["num_classes"] for row in store.networks(range(10)).values()) == [11, 19]


def test_rows_of_the_zoo_do_not_disturb_what_profiles_and_validates(world: World, database: Path) -> None:
    small = ("--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]")
    document(database, "bench", "fast-scnn", *SMALL)
    profiled = latency_db(database, "profile", *small, "--calibration-networks", "4", "--rel-ci", "0.05")
    assert profiled["failed"] == {} and profiled["calibration"]["networks"] == 4
    found = latency_db(
        database, "validate", *small, "--networks", "4", "--calibration-networks", "4", "--rel-ci", "0.1"
    )
    assert (found["networks"], found["dropped"]) == (4, 0)
    with Store.open(str(database)) as store:
        for run in store.runs():
            assert 1 not in run.plan.get("calibrating", ()), "network 1 is the zoo's"


def test_a_bench_that_was_cut_short_goes_on(world: World, database: Path) -> None:
    def interrupt(name: str) -> None:
        if world.runs > 60:
            raise KeyboardInterrupt

    world.before_run = interrupt
    stopped = invoke(database, "bench", "fast-scnn", *SMALL, "--rel-ci", "0.0001")
    assert stopped.exit_code == 130
    with Store.open(str(database)) as store:
        (run,) = store.runs()
        (visits,) = store.network_visits(run.target_id).values()
    assert run.status == "interrupted" and len(visits.all_ratios) >= 1
    world.before_run = lambda name: None
    found = document(database, "bench", "fast-scnn", *SMALL)
    assert found["kept_visits"] == len(visits.all_ratios)
    assert found["measured_visits"] == found["visits"] + found["kept_visits"]
    assert document(database, "bench", "fast-scnn", *SMALL)["kept_visits"] == 0, "what is complete is not gone on with"


def test_remeasure_forgets_what_was_cut_short(world: World, database: Path) -> None:
    def interrupt(name: str) -> None:
        if world.runs > 2000:
            raise KeyboardInterrupt

    world.before_run = interrupt
    assert invoke(database, *STUDENT, "--rel-ci", "0.0001").exit_code == 130
    world.before_run = lambda name: None
    assert document(database, *STUDENT, "--remeasure")["kept_visits"] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothere",), "there is no file nothere"),
        (("fast-scnn", "--stored"), "--stored is about predictions"),
        (("fast-scnn", "--space-setting", "layers=3"), "--space-setting is about predictions"),
        (("fast-scnn", "--network", "a.b:c"), "--network goes with"),
        (("fasterseg-student", "--rel-ci", "2"), "not between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(world: World, database: Path, arguments: tuple[str, ...], says: str) -> None:
    world.before_run = lambda name: pytest.fail("it was measured")
    assert says in the_line(invoke(database, "bench", *arguments))


def test_a_network_that_cannot_be_run_is_an_error(world: World, database: Path) -> None:
    world.broken["fast-scnn at 64x64"] = "no kernel"
    result = invoke(database, "bench", "fast-scnn", *SMALL)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: not measured: fast-scnn at 64x64: no kernel"


def test_the_space_of_an_architecture_is_the_one_that_was_searched() -> None:
    from latency_db import spaces

    assert space_settings(FASTERSEG_STUDENT) == dict(spaces.create("fasterseg").settings)
    subject: Subject = find_subject("fasterseg-student", classes=11)
    assert subject.architecture is not None and space_settings(subject.architecture)["num_classes"] == 11


def test_an_architecture_of_another_space_brings_its_depth_and_widths(tmp_path: Path) -> None:
    import random

    from latency_db import spaces

    space = spaces.create("fasterseg", layers=6, chis=[3, 4], scales=[8, 16, 32, 64], branches=1)
    rng = random.Random(0)
    architecture = next(one for one in (space.sample(rng) for _ in range(500)) if one.branches[0].s == 64)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(space.to_json(architecture)))
    subject = find_subject(str(path))
    assert subject.architecture is not None
    settings = space_settings(subject.architecture)
    assert (settings["layers"], settings["branches"], settings["scales"]) == (6, 1, [8, 16, 32, 64])


@pytest.mark.alone
def test_with_the_real_runtime(database: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    found = document(database, "bench", "fast-scnn", "--image-size", "64x64", "--time-budget", "2s")
    assert found["measured_ms"] > 0 and found["target"]["backend"] == "ort" and found["visits"] > 0
