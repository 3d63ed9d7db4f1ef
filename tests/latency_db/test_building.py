"""``profile --build-only``: what it builds, what a refusal leaves, how it goes on, what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import nn

from backends import onnx_export, registry
from backends.building import Built
from backends.errors import BackendError
from backends.protocol import Array
from latency_db.building import BuildProgress, build_space
from latency_db.keys import ImageSize
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend, FakeBuilder, World
from tests.latency_db.program import document, invoke, the_line

IMAGE = ImageSize(64, 64)
SMALL = (
    *("--image-size", "64x64", "--space-setting", "layers=6", "--space-setting", "scales=[8,16]"),
    *("--space-setting", "chis=[4]", "--space-setting", "stem_widths=[8,16,32]", "--space-setting", "head_chi=4"),
)
RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed: pip install '.[trt-rtx]'"
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The compiler of every backend is a simulated one."""
    simulated = World()
    monkeypatch.setattr(registry, "create_builder", lambda name, **settings: FakeBuilder(simulated, **settings))
    return simulated


@pytest.fixture
def some_db(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


def space() -> FasterSegSpace:
    return FasterSegSpace(layers=6, scales=(8, 16), chis=(4,))


def test_every_operator_and_some_networks_are_built_and_nothing_is_measured(some_db: Path) -> None:
    world, seen = World(), list[BuildProgress]()
    with Store.open(str(some_db)) as store:
        result = build_space(store, FakeBuilder(world), space(), IMAGE, networks=3, report=seen.append)
        specs = space().specs(IMAGE)
        networks = [name for name in world.compiled if name.startswith("network-")]
        assert set(world.compiled) - set(networks) == {spec.name for spec in specs}
        assert len(networks) == len(set(networks)) == 3
        assert (result.specs, result.networks, result.built, result.kept) == (len(specs), 3, len(specs) + 3, 0)
        assert result.failed == {} and result.size_bytes == 100 * (len(specs) + 3)
        assert [progress.done for progress in seen] == list(range(1, len(specs) + 4))
        (row,) = store.targets()
        assert (row.target.device, row.n_measurements, row.provenances) == ("sm0", 0, ())
        assert store.query() == [] and store.reference_ms(row.id) is None
        (run,) = store.runs()
        assert (run.status, run.plan["build_only"]) == ("completed", True)


def test_what_is_refused_is_a_failure_in_the_database_and_spares_the_others(some_db: Path) -> None:
    spec = space().specs(IMAGE)[5]
    world = World(broken={spec.name: "no such thing as a conv", "network-2": "too large"})
    with Store.open(str(some_db)) as store:
        result = build_space(store, FakeBuilder(world), space(), IMAGE, networks=3)
        assert result.failed == {
            spec.name: f"{spec.name}: no such thing as a conv",
            "network-2": "network-2: too large",
        }
        assert result.built == result.specs + 3 - 2
        (row,) = store.targets()
        assert store.failures(row.id, result.run_id) == {spec: f"{spec.name}: no such thing as a conv"}
        assert row.n_measurements == 0


def test_stopped_it_goes_on_where_it_was(some_db: Path) -> None:
    world = World()

    def interrupt(name: str) -> None:
        if len(world.compiled) == 20:
            raise KeyboardInterrupt

    world.before_run = interrupt
    with Store.open(str(some_db)) as store:
        with pytest.raises(KeyboardInterrupt):
            build_space(store, FakeBuilder(world), space(), IMAGE, networks=3)
        world.before_run = lambda name: None
        result = build_space(store, FakeBuilder(world), space(), IMAGE, networks=3)
        assert (result.kept, result.built) == (20, result.specs + 3 - 20)
        assert [run.status for run in store.runs()] == ["interrupted", "completed"]


def test_what_is_no_refusal_ends_it(some_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FakeBuilder, workload: object) -> Built:
        raise BackendError("no space left")

    monkeypatch.setattr(FakeBuilder, "build", full)
    with Store.open(str(some_db)) as store:
        with pytest.raises(BackendError, match="no space left"):
            build_space(store, FakeBuilder(World()), space(), IMAGE)
        (run,) = store.runs()
        assert run.status == "interrupted"


def test_only_what_is_asked_for(world: World, some_db: Path) -> None:
    found = document(some_db, "profile", "--build-only", *SMALL, "--only", "op=conv")
    assert 0 < found["built"] == found["specs"] and found["networks"] == 0
    assert all(name.startswith("conv ") for name in world.compiled)


def test_the_program_says_what_was_built_and_that_nothing_was_measured(world: World, some_db: Path) -> None:
    result = invoke(some_db, "profile", "--build-only", *SMALL, "--networks", "2")
    assert result.exit_code == 0, result.output
    assert "2 networks" in result.stdout and "sm0" in result.stdout and "nothing was measured" in result.stdout


def test_a_refusal_is_a_line_and_exit_code_1(world: World, some_db: Path) -> None:
    world.broken["network-1"] = "unsupported"
    result = invoke(some_db, "profile", "--build-only", *SMALL, "--networks", "2", "--json")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: not built: network-1: unsupported"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--build-only", "--remeasure"), "--remeasure has no meaning with --build-only"),
        (("--build-only", "--device", "mine"), "--device has no meaning with --build-only"),
        (("--build-only", "--time-budget", "1m"), "--time-budget has no meaning with --build-only"),
        (("--networks", "3"), "--networks has no meaning without --build-only"),
        (("--build-only", "--backend", "ort"), "no build-only mode"),
        (("--build-only", "--backend", "tpu"), "no backend 'tpu'"),
        (("--build-only", "--backend", "trt", "--setting", "precision=fp64"), "fp64"),
    ],
)
def test_mistakes_are_one_line(some_db: Path, arguments: tuple[str, ...], words: str) -> None:
    if "precision=fp64" in arguments and importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed")
    assert words in the_line(invoke(some_db, "profile", *SMALL, *arguments))


def test_the_capability_is_asked_of_the_class_not_guessed() -> None:
    assert isinstance(FakeBuilder(), FakeBackend)
    with pytest.raises(BackendError, match="no build-only mode"):
        registry.create_builder("torch")


# TensorRT-RTX itself


@RTX
def test_a_small_space_is_built_for_real(some_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ("profile", "--backend", "trt", "--build-only", *SMALL, "--networks", "2")
    found = document(some_db, *arguments)
    assert found["failed"] == {} and found["built"] == found["specs"] + 2 > 20
    assert found["target"]["device"] == "sm86-sm120" and found["size_bytes"] > 1e6
    again = document(some_db, *arguments)
    assert (again["built"], again["kept"]) == (0, found["built"])
    line = the_line(invoke(some_db, "predict", "--device", "sm86-sm120", "fasterseg-student"))
    assert "no latency of 'sm86-sm120'; it has: none" in line
    (target,) = document(some_db, "targets")
    assert (target["device"], target["runtime"], target["measurements"]) == ("sm86-sm120", "tensorrt_rtx", 0)


@RTX
def test_a_graph_that_the_real_parser_refuses_is_a_failed_row_with_its_words(
    some_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.backends.graphs import oddity

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    exported, export = list[bytes](), onnx_export.export_onnx

    def odd_at_first(module: nn.Module, inputs: tuple[Array, ...]) -> bytes:
        exported.append(export(module, inputs) if exported else oddity())
        return exported[-1]

    monkeypatch.setattr(onnx_export, "export_onnx", odd_at_first)
    arguments = ("profile", "--backend", "trt", "--build-only", *SMALL, "--only", "op=skip", "--only", "op=merge")
    result = invoke(some_db, *arguments, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1 and found["built"] == found["specs"] - 1 > 0
    ((name, words),) = found["failed"].items()
    assert words.startswith(f"{name}: In node 0 ") and "Oddity" in words and "Plugin not found" in words
    assert result.stderr.splitlines()[-1] == f"Error: not built: {words}"
    with Store.open(str(some_db)) as store:
        (row,) = store.targets()
        failures = store.failures(row.id, found["run"])
        assert {spec.name: reason for spec, reason in failures.items()} == {name: words}
        assert (row.target.device, row.n_measurements) == ("sm86-sm120", 0)


def test_every_operator_is_built_before_a_change_lands(root: Path) -> None:
    assert "make build-check" in (root / ".ci" / "run").read_text(encoding="utf-8")
    recipe = (root / "Makefile").read_text(encoding="utf-8").partition("\nbuild-check:")[2].partition("\n\n")[0]
    assert "--build-only --networks 10 --setting compute_capabilities=8.6,12.0" in recipe
    assert "--only" not in recipe and "--space-setting" not in recipe


@RTX
@pytest.mark.alone
def test_killed_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ("profile", "--backend", "trt", "--build-only", *SMALL, "--only", "op=conv", "--only", "op=skip")
    code = "from latency_db.cli import main; main()"
    command = [sys.executable, "-c", code, "--db", str(tmp_path / "some.db"), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    engines = tmp_path / "latency-db" / "trt"
    deadline = time.monotonic() + 60
    while len(list(engines.glob("*.engine"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    before = len(list(engines.glob("*.engine")))
    assert before >= 2
    found = document(tmp_path / "some.db", *arguments)
    assert found["failed"] == {} and found["built"] > 0 and found["kept"] == before
