"""Backends in turns: who is measured when, what a table says of whom, and that nobody's figures are another's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from backends import registry
from backends.errors import BackendError, RuntimeMissingError
from backends.measure import Job, Plan
from backends.protocol import Backend, Workload
from latency_db import table1
from tests.benchmarks.conftest import Load
from tests.fakes import FakeBackend, World
from trainer.zoo import PUBLISHED

IMAGE = "1024x2048"
OPS = {"conv": 3.0, "conv_group2": 2.4, "conv_dilation2": 6.0, "zoomed_conv": 1.5}


def cost_ms(name: str) -> float:
    return 20.0 if name.startswith("fasterseg-student") else OPS[name.split()[0]]


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> dict[str, World]:
    """ONNX Runtime and OpenVINO are simulated, the second twice as fast; nothing else is here."""
    found = {"ort": World(cost_ms), "openvino": World(lambda name: cost_ms(name) / 2)}

    def create(name: str, **settings: object) -> Backend:
        if name not in found:
            raise RuntimeMissingError(f"backend {name!r} cannot run here: no such device", hint="buy one")
        return FakeBackend(found[name], **settings)

    monkeypatch.setattr(registry, "create", create)
    monkeypatch.setattr(registry, "names", lambda: ["openvino", "ort", "torch", "trt"])
    monkeypatch.setattr(registry, "get", lambda name: FakeBackend)
    return found


@pytest.fixture
def measured(
    load: Load, worlds: dict[str, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """The document of a call."""
    script = load("every_backend")

    def call(*options: str, code: int = 0) -> Any:
        output = tmp_path / "backends.json"
        monkeypatch.setattr(sys, "argv", ["every_backend.py", *options, "--output", str(output)])
        assert script.main() == code
        return json.loads(output.read_text(encoding="utf-8"))

    return call


def table(load: Load, document: dict[str, Any]) -> str:
    return str(load("backend_tables").every_backend(document, load("generate_tables").table))


def test_the_ratios_are_the_papers_kind(measured: Callable[..., Any], load: Load) -> None:
    document = measured("--minutes", "0.1", "--passes", "2")
    ort, openvino = (next(way for way in document["ways"] if way["backend"] == name) for name in ("ort", "openvino"))
    for way, factor in ((ort, 1.0), (openvino, 0.5)):
        operators = {one["op"]: one for one in way["operators"]}
        assert {op: one["latency_ms"] for op, one in operators.items()} == pytest.approx(
            {op: ms * factor for op, ms in OPS.items()}
        )
        assert "to_conv" not in operators["conv"]
        assert operators["zoomed_conv"]["to_conv"] == pytest.approx(-0.5)
        assert operators["conv_dilation2"]["to_conv"] == pytest.approx(1.0)
        (network,) = way["networks"]
        assert (network["image_size"], network["fps"]) == (IMAGE, pytest.approx(50 / factor))
    assert {way["way"] for way in document["ways"] if "not_here" in way} >= {"TensorRT-RTX", "PyTorch, eager"}
    assert all("operators" not in way for way in document["ways"] if "not_here" in way)
    text = table(load, document)
    assert "| the paper: TensorRT on a GTX 1080 Ti | 0.15 | 0.13 (-13%) | 0.25 (+67%) | 0.09 (-40%) | 163.9 |" in text
    assert "- TensorRT-RTX; TensorRT-RTX, CUDA graph; TensorRT-RTX, fp16; TensorRT: backend 'trt' cannot run" in text
    assert "2 passes" in text and "one thread" in text


def test_the_papers_figures_are_those_of_the_papers_tables() -> None:
    changes = [round(100 * (table1.PAPER_MS[op] / table1.PAPER_MS["conv"] - 1)) for op in table1.OPS[1:]]
    assert changes == [-13, 67, -40]
    assert 163.9 in [result.fps for result in PUBLISHED["fasterseg"].results]


def test_what_fails_alone_is_said_and_spares_the_rest(
    measured: Callable[..., Any], load: Load, worlds: dict[str, World]
) -> None:
    zoomed = next(spec.name for spec in table1.specs() if spec.op == "zoomed_conv")
    worlds["ort"].broken[zoomed] = "no kernel"
    worlds["openvino"].unloadable[f"fasterseg-student at {IMAGE}"] = "too large"
    document = measured("--minutes", "0.1", "--passes", "1", "--backend", "ort", "--backend", "openvino")
    ort, openvino = document["ways"]
    assert ort["operators"][-1]["not_measured"] == f"{zoomed}: no kernel" and ort["networks"][0]["fps"] > 0
    assert openvino["networks"][0]["fps"] is None and openvino["operators"][-1]["latency_ms"] == pytest.approx(0.75)
    text = table(load, document)
    assert f"- ONNX Runtime, zoomed_conv: {zoomed}: no kernel" in text
    assert f"- OpenVINO, fasterseg-student at {IMAGE}: fasterseg-student at {IMAGE}: too large" in text


def test_nothing_here_is_no_success(measured: Callable[..., Any], load: Load) -> None:
    document = measured("--on", "gpu", code=1)
    assert {way["on"] for way in document["ways"]} == {"gpu"}
    assert all("not_here" in way for way in document["ways"])
    assert table(load, document).count("cannot run here: no such device (buy one)") == 4


def test_backends_from_elsewhere_take_part(load: Load, worlds: dict[str, World], monkeypatch: Any) -> None:
    monkeypatch.setattr(registry, "names", lambda: ["ort", "mine"])
    ways = load("_ways").ways("cpu")
    assert [way.name for way in ways if way.backend == "mine"] == ["mine"]
    assert {way.backend for way in load("_ways").ways("gpu")} == {"trt", "torch", "ort-cuda", "ort-tensorrt"}


class Taker:
    """Notes its turns, and lets them pass."""

    def __init__(self, name: str, turns: list[tuple[str, float]], broken: bool = False) -> None:
        self.name, self.turns, self.broken = name, turns, broken

    def turn(self, seconds: float, seed: int) -> None:
        self.turns.append((self.name, seconds))
        if self.broken:
            raise BackendError("the device is gone")


def test_the_order_turns_around_from_pass_to_pass_and_who_fails_falls_out(load: Load) -> None:
    turns = list[tuple[str, float]]()
    stands = {name: Taker(name, turns, broken=name == "b") for name in "abc"}
    out = load("_turns").take_turns(stands, 3, 90.0, now=lambda: 10.0 * len(turns))
    assert out == {"b": "the device is gone"}
    assert "".join(name for name, _ in turns) == "abccaac"
    assert turns[0][1] == 10.0, "an equal share of the time for everyone in every pass"
    assert turns[-1][1] == 30.0, "what others leave is the last one's"


def test_a_program_lasts_from_turn_to_turn(load: Load) -> None:
    module, backend = load("_turns"), FakeBackend(World(noise=0.1, seed=1))
    job = Job(key="one", workload=Workload(name="one", build=nn.Identity, input_shapes=()))
    stand = module.Stand(backend=module.CompilesOnce(backend), groups=[(Plan(rel_ci=1e-6, max_rounds=6), [job])])
    stand.compile()
    for seed in range(2):
        stand.turn(30.0, seed)
    assert sorted(backend.world.compiled) == ["one", "reference"] and len(job.ratios) == 6
    assert stand.latency(job).visits == 6 and stand.reference_ms == pytest.approx(1.0, rel=0.3)
    stand.backend.close()
    assert backend.world.open_programs == []
