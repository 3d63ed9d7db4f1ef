"""What the commands say of visits that were throttled or contended, and of clocks that they lock."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import measure as loop
from backends import registry
from backends.counting import Visited
from backends.gpu_clocks import Wanted
from backends.observers import Observation
from backends.samples import Visit
from latency_db import campaign as campaigns
from latency_db.cli.profile_options import profile_request
from latency_db.interrupted import interrupted_visits
from latency_db.keys import ImageSize
from latency_db.request import ProfileRequest
from latency_db.store import Store
from tests.backends.fake_nvml import nvml_folder
from tests.fakes import REFERENCE, FakeBackend, FakeObserver, World, named_cost
from tests.latency_db.program import document, invoke, the_line

SMALL = ("--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]", "--rel-ci", "0.05")
PROFILE = ("profile", *SMALL, "--calibration-networks", "0", "--time-budget", "15s")
Says = Callable[[int], Observation]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Whatever backend is asked for, it is a simulated one that an observer looks at."""

    def install(says: Says, *, gpu: bool = False) -> World:
        simulated = World(noise=0.002)

        class Watched(FakeBackend):
            @property
            def on_nvidia_gpu(self) -> bool:
                return gpu

            def observers(self) -> tuple[FakeObserver, ...]:
                return (FakeObserver(says),)

        monkeypatch.setattr(registry, "create", lambda name, **settings: Watched(simulated, **settings))
        monkeypatch.setattr(campaigns, "measure", functools.partial(loop.measure, now=simulated.seconds))
        return simulated

    return install


def one_in(share: int, flag: str = "contended") -> Says:
    return lambda visit: Observation(values={"seen_ms": 1.5}, flags=(flag,) if visit % share == 0 else ())


def test_a_profile_counts_what_it_leaves_out(watch: Callable[..., World], database: Path) -> None:
    watch(one_in(4, "throttled"))
    found = document(database, *PROFILE)
    assert found["flags"]["throttled"] == pytest.approx(found["visits"] / 4, abs=1)
    assert found["left_out"] == found["flags"]["throttled"] and found["flagged"] == 0
    rows = document(database, "query")
    assert sum(row["left_out"] for row in rows) == found["left_out"]
    assert sum(row["visits"] for row in rows) == found["visits"] - found["left_out"]
    assert not any(row["flagged"] for row in rows)


def test_people_are_told_too(watch: Callable[..., World], database: Path) -> None:
    watch(one_in(4, "throttled"))
    result = invoke(database, *PROFILE)
    assert "flagged visits: throttled: " in result.stdout and "left out of all estimates" in result.stdout
    assert "Warning" not in result.stderr
    assert "flagged" not in invoke(database, "query").stdout


def test_where_no_visit_is_clean_all_count_and_everyone_is_told(watch: Callable[..., World], database: Path) -> None:
    watch(one_in(1))
    result = invoke(database, *PROFILE)
    assert result.exit_code == 0 and "stopped: time" in result.stdout
    assert "had fewer than two clean visits" in result.stderr
    query = invoke(database, "query", "--limit", "3")
    assert query.stdout.count("measured, flagged") == 3
    assert "Warning: 3 of 3 latencies had fewer than two clean visits" in query.stderr
    rows = document(database, "query")
    assert all(row["flagged"] and row["left_out"] == 0 for row in rows)
    again = document(database, *PROFILE)
    assert again["stopped"] == "time" and again["flagged"] == again["specs"], "it is never known well enough"


def test_the_table_warns_of_what_rests_on_flagged_visits(
    watch: Callable[..., World], database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from latency_db import spaces
    from latency_db.table import LatencyTable

    watch(one_in(1))
    document(database, *PROFILE)
    space = spaces.create("fasterseg", layers=3, chis=[4])
    with Store.open(str(database)) as store:
        table = LatencyTable.load(device="simulated", space=space, image="64x64", store=store)
    assert table.flagged == frozenset(table.specs)
    assert f"{len(table.specs)} of {len(table.specs)} operator latencies rest on visits that were" in caplog.text


def test_a_calibration_and_a_fit_take_what_counts(watch: Callable[..., World], database: Path) -> None:
    contended = [False]

    def says(visit: int) -> Observation:
        contended[0] = (visit + 1) % 3 == 0
        return Observation(values={"seen_ms": 1.5}, flags=("contended",) if visit % 3 == 0 else ())

    world = watch(says)
    # What is contended takes three times as long: whoever counted it would find other scales.
    world.before_run = lambda name: (
        world.advance(2 * world.undisturbed(name)) if contended[0] and name != REFERENCE else None
    )
    found = document(database, "profile", *SMALL, "--calibration-networks", "4")
    assert found["left_out"] > 0 and found["calibration"]["networks"] == 4
    with Store.open(str(database)) as store:
        rows = {row.spec.name: row.latency_ms for row in store.query()}
    assert rows == {name: pytest.approx(named_cost(name), rel=0.05) for name in rows}
    fitted = document(database, "fit", "--device", "simulated", *SMALL[:6], "--no-fill")
    assert fitted["flagged"] == 0


def test_a_calibration_leaves_networks_out_that_have_no_clean_visit(
    watch: Callable[..., World], database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def says(visit: int) -> Observation:
        networks = [name for name in ran if name.startswith("network-")]
        return Observation(flags=("contended",) if ran[-1] in networks[:1] else ())

    watch(says).before_run = lambda name: None if name == REFERENCE else ran.append(name)
    found = document(database, "profile", *SMALL, "--calibration-networks", "5", "--time-budget", "20s")
    assert found["calibration"]["networks"] == 4
    assert "calibration rests on" not in caplog.text


def test_where_no_network_has_a_clean_visit_the_calibration_says_so(
    watch: Callable[..., World], database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch(one_in(1))
    found = document(database, "profile", *SMALL, "--calibration-networks", "4", "--time-budget", "10s")
    assert found["calibration"]["networks"] == 4
    assert "throttled or contended whenever they were visited: 4 of 4" in caplog.text


def test_what_an_interrupted_run_flagged_stays_flagged(database: Path) -> None:
    with Store.open(str(database)) as store:
        target_id = store.ensure_target(FakeBackend().target())
        network = store.ensure_network("some", {}, {"cells": []}, ImageSize(64, 64))
        for flags in ((), ("contended",), ("noisy",)):
            run = store.start_run(target_id, "profile", series=1, plan={"what": "bench"}, environment={})
            visit = Visit(
                round=0,
                elapsed_ms=(2.0,),
                reference_ms=(1.0, 1.0),
                repeats=1,
                warmup=1,
                flags=flags,
                observed={"observed_ms": 5.0},
            )
            store.add_visits(run, [(network, visit)], network=True)
            store.finish_run(run, "interrupted", None, None)
        begun = interrupted_visits(store, target_id, {"what": "bench"})[network]
    assert begun.visited == Visited([2.0] * 3, [True, False, True])
    assert begun.visited.counted.left_out == 1


# Clocks


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What becomes of the clocks of a GPU that there is not."""
    path = tmp_path / "clocks.log"
    monkeypatch.syspath_prepend(str(nvml_folder(tmp_path / "bindings", path)))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    yield path
    sys.modules.pop("pynvml", None)


@pytest.mark.parametrize(("arguments", "mhz"), [(("--lock-clocks",), 1395), (("--lock-clocks", "1410"), 1410)])
def test_a_profile_at_a_locked_clock_is_of_another_target(
    watch: Callable[..., World], database: Path, log: Path, arguments: tuple[str, ...], mhz: int
) -> None:
    watch(one_in(10**6), gpu=True)
    plain = document(database, *PROFILE)
    assert not log.exists(), "clocks are never touched unasked"
    found = document(database, "profile", *arguments, *PROFILE[1:])
    assert log.read_text().splitlines() == [f"locked GPU-0aaa {mhz} {mhz}", "reset GPU-0aaa"]
    assert found["target"]["settings"] == {"threads": 1, "locked_clock_mhz": mhz}
    assert found["measured"] == plain["measured"], "nothing of the other target is taken for it"
    with Store.open(str(database)) as store:
        assert [run.plan.get("locked_clock_mhz") for run in store.runs()] == [None, mhz]
        assert {row.target.settings.get("locked_clock_mhz") for row in store.targets()} == {None, mhz}


def test_a_validation_locks_the_clock_too(watch: Callable[..., World], database: Path, log: Path) -> None:
    watch(one_in(10**6), gpu=True)
    arguments = ("--networks", "4", "--calibration-networks", "0", "--lock-clocks", "1410")
    invoke(database, "validate", *SMALL, *arguments)
    assert log.read_text().splitlines() == ["locked GPU-0aaa 1410 1410", "reset GPU-0aaa"]


@pytest.mark.parametrize("command", [PROFILE, ("validate", *SMALL, "--networks", "4")])
def test_on_a_cpu_it_is_refused_in_one_line(
    watch: Callable[..., World], database: Path, log: Path, command: tuple[str, ...]
) -> None:
    watch(one_in(10**6))
    line = the_line(invoke(database, *command, "--lock-clocks"))
    assert "--lock-clocks is for NVIDIA GPUs" in line
    assert not log.exists()
    with Store.open(str(database)) as store:
        assert store.runs() == [] and store.targets() == []


def test_without_permission_there_is_no_run(
    watch: Callable[..., World], database: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["latency-db", "profile", "--lock-clocks"])
    nvml_folder(tmp_path / "bindings", log, refuse="permission")
    watch(one_in(10**6), gpu=True)
    assert "(sudo --preserve-env latency-db profile --lock-clocks)" in the_line(
        invoke(database, *PROFILE, "--lock-clocks")
    )
    with Store.open(str(database)) as store:
        assert store.runs() == []


@pytest.mark.parametrize("value", ["0", "fast"])
def test_what_is_no_clock_is_a_mistake(watch: Callable[..., World], database: Path, value: str) -> None:
    watch(one_in(10**6), gpu=True)
    result = invoke(database, *PROFILE, "--lock-clocks", value)
    assert result.exit_code == 2 and "is not a clock in MHz" in result.stderr


@pytest.mark.parametrize("clocks", [None, "default", 1410])
def test_a_request_carries_the_clock_to_the_worker(clocks: Wanted | None) -> None:
    request = profile_request(
        backend_name="trt",
        threads=None,
        settings=(),
        device="card",
        space_name="fasterseg",
        space_settings=(),
        batch=1,
        image=ImageSize(64, 64),
        rel_ci=0.01,
        time_budget=60.0,
        only=(),
        remeasure=False,
        calibration_networks=0,
        seed=0,
        lock_clocks=clocks,
    )
    assert ProfileRequest.read(request.model_dump(mode="json")).lock_clocks == clocks
