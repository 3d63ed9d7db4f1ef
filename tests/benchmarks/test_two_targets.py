"""Two targets through the program: what is given anew, what is kept, whose words are whose."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backends import registry
from backends.protocol import Backend
from tests.benchmarks.conftest import Load
from tests.fakes import FakeBackend, World, named_cost
from tests.latency_db.program import invoke

OPTIONS = argparse.Namespace(profile_budget="8s", time_budget="9s", seeds=[1, 2], networks=5)
SMALL = (
    *("--image-size", "64x64", "--space-setting", "layers=6", "--space-setting", "scales=[8,16]"),
    *("--space-setting", "chis=[4]", "--space-setting", "stem_widths=[8,16,32]", "--space-setting", "head_chi=4"),
)


@pytest.fixture
def script(load: Load) -> ModuleType:
    return load("two_targets")


class Program:
    """What stands for ``latency-db``."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.given: list[list[str]] = []
        self.refused: dict[str, str] = {}
        self.measured, self.dropped, self.outcome = 3, 0, "passed"

    def run(self, db: str, words: list[str]) -> dict[str, Any]:
        self.given.append(words)
        for word, reason in self.refused.items():
            if word in words:
                raise self.module.StepError(reason)
        if words[0] == "validate":
            Path(words[words.index("--report") + 1]).mkdir(parents=True, exist_ok=True)
            figures = {**dict.fromkeys(self.module.FIGURES, 0.5), "dropped": self.dropped}
            said = {"calibration": {"method": "op"}, "protocol": {"stopped because": "time", "took": "9 s"}}
            return {**figures, **said, "verdict": {"outcome": self.outcome, "reasons": []}}
        backend = words[words.index("--backend") + 1] if "--backend" in words else ""
        target = {"device": "cpu", "backend": backend, "runtime": "r", "runtime_version": "1", "precision": "fp32"}
        return {"target": target, "specs": 3, "measured": self.measured, "failed": {}, "elapsed_s": 1.0}


@pytest.fixture
def program(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Program:
    found = Program(script)
    monkeypatch.setattr(script, "run", found.run)
    return found


def steps(script: ModuleType, folder: Path, *what: str) -> Any:
    return script.Steps(db="some.db", folder=folder / "kept", what=what)


def test_a_target_is_named_with_its_settings(script: ModuleType) -> None:
    measured = script.Measured.parse("torch:device_type=cuda,mode=cudagraph")
    assert measured.options == [
        *("--backend", "torch", "--setting", "device_type=cuda", "--setting", "mode=cudagraph"),
    ]
    assert measured.name == "torch-device_type-cuda-mode-cudagraph"
    assert script.Measured.parse("ort") == script.Measured("ort")


def test_what_came_to_its_end_is_not_given_again(script: ModuleType, program: Program, tmp_path: Path) -> None:
    found = [script.measure(steps(script, tmp_path), script.Measured("ort"), OPTIONS) for _ in range(2)]
    assert found[0] == found[1] and "failed" not in found[0]
    assert [words[0] for words in program.given] == ["profile", "validate", "validate"]
    script.measure(steps(script, tmp_path, "--space-setting", "layers=6"), script.Measured("ort"), OPTIONS)
    assert len(program.given) == 6, "another space is another step"
    more = argparse.Namespace(**{**vars(OPTIONS), "profile_budget": "1h", "time_budget": "1h"})
    script.measure(steps(script, tmp_path, "--space-setting", "layers=6"), script.Measured("ort"), more)
    assert len(program.given) == 6, "another budget is not"
    again = dataclasses.replace(steps(script, tmp_path, "--space-setting", "layers=6"), again=True)
    script.measure(again, script.Measured("ort"), more)
    assert [words[-2:] for words in program.given[6:]] == [["--time-budget", "1h"]] * 3


def test_a_step_that_failed_is_given_again_and_the_ones_before_it_are_not(
    script: ModuleType, program: Program, tmp_path: Path
) -> None:
    program.refused["validate"] = "no space left"
    found = script.measure(steps(script, tmp_path), script.Measured("ort"), OPTIONS)
    assert found["failed"] == "no space left" and found["profile"]["measured"] == 3 and found["validations"] == []
    program.refused.clear()
    again = script.measure(steps(script, tmp_path), script.Measured("ort"), OPTIONS)
    assert "failed" not in again and [one["seed"] for one in again["validations"]] == [1, 2]
    assert [words[0] for words in program.given] == ["profile", "validate", "validate", "validate"]


def test_a_step_that_left_something_open_is_given_again(script: ModuleType, program: Program, tmp_path: Path) -> None:
    program.measured, program.dropped = 2, 1
    script.measure(steps(script, tmp_path), script.Measured("ort"), OPTIONS)
    program.measured, program.dropped = 3, 0
    found = script.measure(steps(script, tmp_path), script.Measured("ort"), OPTIONS)
    assert found["profile"]["measured"] == 3 and [one["dropped"] for one in found["validations"]] == [0, 0]
    assert len(program.given) == 6


def test_one_that_fails_keeps_its_words_and_leaves_the_other(
    script: ModuleType, load: Load, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.refused["trt"] = "backend 'trt' cannot run here: no CUDA device can be used"
    output = tmp_path / "two_targets.json"
    targets = ("--target", "trt:flavour=tensorrt_rtx", "--target", "ort")
    arguments = [*targets, *SMALL, "--db", str(tmp_path / "new" / "some.db"), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["two_targets.py", *arguments])
    assert script.main() == 1
    found = json.loads(output.read_text(encoding="utf-8"))
    trt, ort = found["targets"]
    assert trt == {
        "backend": "trt",
        "settings": ["flavour=tensorrt_rtx"],
        "validations": [],
        "failed": program.refused["trt"],
    }
    assert len(ort["validations"]) == 1 and "comparison" not in found
    text = load("backend_tables").two_targets(found, load("generate_tables").table)
    assert "`trt` `flavour=tensorrt_rtx` failed: backend 'trt' cannot run here" in text
    assert "| `ort`, r 1, fp32 | 1 | 0.5000 |" in text and "layers=6" in text


def test_the_whole_of_it_on_two_simulated_backends(
    script: ModuleType, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    given = list[str]()

    def create(name: str, **settings: object) -> Backend:
        cost_ms = named_cost if name == "ort" else lambda workload: 2 * named_cost(workload)
        return type("Named", (FakeBackend,), {"name": name})(World(cost_ms, noise=0.001), **settings)

    def run(db: str, words: list[str]) -> Any:
        given.append(words[0])
        result = invoke(Path(db), *words, "--json")
        assert result.stdout, result.output
        return json.loads(result.stdout)

    monkeypatch.setattr(registry, "create", create)
    monkeypatch.setattr(script, "run", run)
    output, pictures = tmp_path / "two_targets.json", tmp_path / "pictures"
    few = ("--networks", "4", "--calibration-networks", "4", "--time-budget", "1s", "--pictures", str(pictures))
    # Simulated networks cost what they like: no sum over operators predicts them.
    few = (*few, "--min-pearson", "0.001", "--max-mape", "0.99")
    arguments = [*SMALL, *few, "--db", str(tmp_path / "some.db"), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["two_targets.py", *arguments])
    for _ in range(2):
        assert script.main() == 0
    assert given == [*("profile", "validate") * 2, "compare-targets", "compare-targets"], "a second call only compares"
    assert sorted(path.name for path in pictures.iterdir()) == ["validation-openvino.png", "validation-ort.png"]
    written = json.loads(output.read_text(encoding="utf-8"))
    ort, openvino = written["targets"]
    assert [one["target"]["backend"] for one in (ort, openvino)] == ["ort", "openvino"]
    assert written["comparison"]["operators"] == ort["profile"]["specs"] == ort["profile"]["measured"] > 10
    assert written["comparison"]["ratio"] == pytest.approx(2.0, rel=0.01)
    text = load("backend_tables").two_targets(written, load("generate_tables").table)
    assert "`openvino` over `ort`, the geometric mean of" in text and "failed" not in text
    (tmp_path / "some.db").unlink()
    assert script.main() == 0
    assert given[-5:] == [*("profile", "validate") * 2, "compare-targets"], "another database is another beginning"
    monkeypatch.setattr(sys, "argv", ["two_targets.py", *arguments, "--max-mape", "1e-9"])
    assert script.main() == 1
    (missed,) = json.loads(output.read_text(encoding="utf-8"))["targets"][0]["validations"]
    assert missed["outcome"] == "missed" and "MAPE" in missed["reasons"][0]


def test_the_programs_own_words(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(script.StepError, match=r"^there is no backend 'tpu'; registered are: .*ort"):
        script.run(str(tmp_path / "some.db"), ["profile", "--backend", "tpu"])
    assert script.run(str(tmp_path / "some.db"), ["doctor", "--seconds", "0.1", "--backend", "torch"])["version"]
