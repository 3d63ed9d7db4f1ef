"""What is done on a GPU: in which order, for how long, and what is said of what fails. No GPU is needed to tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tests.backends.fake_nvml import nvml_gpu
from tests.backends.fake_ort_gpu import CARD
from tests.benchmarks.conftest import Load

TEN_MINUTES, FIFTEEN_MINUTES = 600, 900
ON = {"gpu": "NVIDIA H100", "uuid": "GPU-0aaa", "driver": "580.1", "commit": "abc", "versions": {"torch": "2.9"}}
JUDGED = {"seed": 1, "dropped": 0, "pearson": 0.9951, "noise_ceiling": 0.9993, "mape": 0.021}
PREDICTED = {"name": "student", "predicted_ms": 1.02, "measured_ms": 1.0, "error": 0.02}
WHOLE = {"specs": 3, "measured": 3, "failed": {}}
COMPLETE: dict[str, dict[str, Any]] = {
    "tests": {"exit_code": 0, "failed": [], "tests": 2, "skipped": 1, "skipped_tests": [{"reason": "no TensorRT"}]},
    "timings": {"timings": [{"mode": "eager", "latency_ms": 1.0}]},
    **{
        name: {"targets": [{"backend": "trt", "profile": WHOLE, "validations": [JUDGED]}]}
        for name in ("trt", "torch", "two_targets")
    },
    "backends": {"ways": [{"way": "RTX", "operators": [{"op": "conv", "latency_ms": 1.0}], "networks": []}]},
    "compare": {"results": [{"network": "icnet", "image_size": "512x1024", "latency_ms": 1.0}]},
    "predicted_latency": {"bound": 0.05, "dropped": [], "networks": [PREDICTED]},
}


@pytest.fixture
def plan(load: Load) -> ModuleType:
    return load("_gpu_plan")


@pytest.fixture
def gpu_check(load: Load) -> ModuleType:
    return load("gpu_check")


class Machine:
    """Runs nothing: writes the documents that the commands would, and lets time pass."""

    def __init__(self, takes_s: float = 1.0) -> None:
        self.takes_s, self.seconds = takes_s, 0.0
        self.commands: list[list[str]] = []
        self.limits: list[float] = []
        self.documents: dict[str, dict[str, Any] | str | None] = {}
        self.said: dict[str, str] = {}
        self.codes: dict[str, int] = {}

    def now(self) -> float:
        return self.seconds

    def run(self, command: list[str], log: Path, limit_s: float) -> int | None:
        self.commands.append(command)
        self.limits.append(limit_s)
        self.seconds += min(self.takes_s, limit_s)
        name = log.stem
        log.write_text(self.said.get(name, ""))
        document = self.documents.get(name, COMPLETE.get(name, {}))
        if self.takes_s > limit_s:
            return None
        if document is None:
            return 1
        text = document if isinstance(document, str) else json.dumps(document)
        Path(command[command.index("--output") + 1]).write_text(text)
        return self.codes.get(name, 0)


def test_the_essential_comes_first_and_takes_no_longer_than_is_said(
    plan: ModuleType, gpu_check: ModuleType, root: Path, tmp_path: Path
) -> None:
    found = plan.entries(tmp_path)
    essential = [entry for entry in found if entry.essential]
    assert [entry.name for entry in essential] == ["tests", "trt", "torch", "two_targets"]
    assert found[: len(essential)] == essential
    # The last of them finds all but a query done by the two before it.
    assert sum(entry.limit_s for entry in essential[:-1]) <= TEN_MINUTES - 30
    assert sum(entry.limit_s + gpu_check.GRACE_S for entry in essential) <= FIFTEEN_MINUTES
    assert "it takes fifteen minutes at most" in (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for entry in essential[1:]:
        budgets = [
            float(entry.command[entry.command.index(option) + 1].removesuffix("s"))
            for option in ("--profile-budget", "--time-budget")
        ]
        targets = entry.command.count("--target")
        assert targets * sum(budgets) < entry.limit_s, "the program stops by itself before it is stopped"
        assert entry.command[entry.command.index("--networks") + 1] == "60"
        assert entry.command[entry.command.index("--image-size") + 1] == "1024x2048"
        assert entry.command[entry.command.index("--min-pearson") + 1] == "0.993"
        assert entry.command[entry.command.index("--max-mape") + 1] == "0.03"


def test_steps_of_the_two_targets_are_the_same_in_all_entries(plan: ModuleType, tmp_path: Path) -> None:
    trt, torch_, both = (plan.entries(tmp_path)[index].command for index in (1, 2, 3))
    assert trt[3] == "trt:flavour=tensorrt_rtx" and torch_[3] == "torch:device_type=cuda,mode=cudagraph"
    assert both[2:6] == ("--target", trt[3], "--target", torch_[3])
    kept = trt.index("--profile-budget")
    assert trt[4:kept] == torch_[4:kept] == both[6 : kept + 2] and both[kept + 2] == "--profile-budget"
    assert both[-2:] == ("--pictures", str(tmp_path / "pictures"))


@pytest.mark.parametrize("camvid", [None, Path("camvid")])
def test_the_scripts_have_the_options_that_they_are_given(
    plan: ModuleType, root: Path, tmp_path: Path, camvid: Path | None
) -> None:
    found = plan.entries(tmp_path, camvid)
    assert len({entry.name for entry in found}) == len(found) >= 10
    for entry in found:
        script = Path(entry.command[1]).read_text(encoding="utf-8")
        assert Path(entry.command[1]).parent == root / "benchmarks"
        for word in (*entry.command[2:], "--output"):
            assert not word.startswith("--") or f'"{word}"' in script, f"{entry.name}: {word}"


def test_what_is_complete_is_not_done_again(gpu_check: ModuleType, plan: ModuleType, tmp_path: Path) -> None:
    machine, told = Machine(), list[dict[str, str]]()
    todo = plan.entries(tmp_path)
    went = gpu_check.check(
        todo, tmp_path, 900, ON, told=lambda went: told.append(dict(went)), run=machine.run, now=machine.now
    )
    assert set(went.values()) == {"done"} and list(went) == [entry.name for entry in todo]
    assert [len(one) for one in told] == list(range(1, len(todo) + 1)), "known after each, should the machine go"
    again = gpu_check.check(todo, tmp_path, 900, ON, run=machine.run, now=machine.now)
    assert set(again.values()) == {"done before"} and len(machine.commands) == len(todo)


def test_what_fails_keeps_its_own_words_and_stops_nothing(
    gpu_check: ModuleType, plan: ModuleType, tmp_path: Path
) -> None:
    machine = Machine()
    refused = "backend 'trt' cannot run here: tensorrt_rtx 1.7.1 does not run on compute capability 6.1"
    profile = {"specs": 567, "measured": 400, "failed": {}}
    machine.documents = {
        "tests": {"exit_code": 1, "failed": ["tests.contracts.TestTorchCuda.test_it"]},
        "trt": {"targets": [{"backend": "trt", "failed": refused}]},
        "torch": {"targets": [{"backend": "torch", "profile": profile}]},
        "two_targets": {
            "targets": [{"backend": "torch", "profile": {**profile, "measured": 566, "failed": {"conv": "conv: no"}}}]
        },
        "backends": None,
        "timings": {"timings": [{"mode": "compile", "error": "no compiler"}, {"mode": "eager"}]},
        "compare": '{"cut',
    }
    machine.said = {
        "backends": "Traceback\n  at length\nError: CUDA is out of memory\nand more\n",
        "compare": "killed\n",
    }
    todo = plan.entries(tmp_path)
    went = gpu_check.check(todo, tmp_path, 9000, ON, run=machine.run, now=machine.now)
    assert went == {
        "tests": "1 failed: tests.contracts.TestTorchCuda.test_it",
        "trt": f"trt: {refused}",
        "torch": "torch: 167 of 567 operators were not reached",
        "two_targets": "torch: 1 operators failed, one of them: conv: no",
        "backends": "exit code 1: CUDA is out of memory",
        "timings": "compile: no compiler",
        "compare": "exit code 0: killed",
        **dict.fromkeys(("predicted_latency", "search_step", "search_step_bfloat16"), "done"),
    }
    # Cut off, the next call leaves what is known of them.
    machine.takes_s = 5000
    cut = gpu_check.check(todo, tmp_path, 90, ON, run=machine.run, now=machine.now)
    assert cut["tests"].startswith("not done in 90 s") and (tmp_path / "tests.json").exists()
    machine.takes_s = 1
    # All mended: what was not complete, and that alone, is done by the next call.
    machine.documents = {}
    again = gpu_check.check(todo, tmp_path, 9000, ON, run=machine.run, now=machine.now)
    assert [name for name, how in again.items() if how == "done"] == [*went][:7]


def test_networks_that_were_not_judged_are_not_complete(plan: ModuleType) -> None:
    one = {"backend": "trt", "profile": WHOLE, "validations": [{"dropped": 7}]}
    assert plan.targets_lack({"targets": [one]}) == "trt: 7 networks were not judged"
    one["validations"] = [JUDGED]
    assert plan.targets_lack({"targets": [one]}) is None
    assert plan.targets_lack({"targets": [one], "comparison_failed": "no common operator"}) == "no common operator"


def test_no_tests_are_no_success(plan: ModuleType) -> None:
    assert "exit code is 5" in plan.tests_lack({"exit_code": 5, "failed": []})
    skipped = [{"test": f"tests.test_{number}", "reason": "no CUDA device here"} for number in range(2)]
    found = {"exit_code": 0, "failed": [], "tests": 2, "skipped": 2, "skipped_tests": skipped}
    assert plan.tests_lack(found) == "all 2 were skipped: no CUDA device here"
    assert plan.tests_lack({**found, "tests": 3}) is None


def test_skipped_tests_are_named_with_their_reasons(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = load("gpu_steps")
    cases = """<testcase classname="tests.a" name="test_1"/>
        <testcase classname="tests.a" name="test_2"><skipped type="pytest.skip" message="no TensorRT"/></testcase>
        <testcase classname="tests.a" name="test_3"><failure message="no"/></testcase>"""

    def pytest_run(command: list[str], **how: Any) -> Any:
        report = command[-1].partition("=")[2]
        suite = f"<testsuites><testsuite tests='3' skipped='1'>{cases}</testsuite></testsuites>"
        Path(report).write_text(suite)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", pytest_run)
    assert steps.run_tests() == {
        "exit_code": 1,
        "tests": 3,
        "skipped": 1,
        "failed": ["tests.a.test_3"],
        "skipped_tests": [{"test": "tests.a.test_2", "reason": "no TensorRT"}],
    }


def test_a_document_of_a_command_that_failed_is_not_complete(
    gpu_check: ModuleType, plan: ModuleType, tmp_path: Path
) -> None:
    machine = Machine()
    names = ("timings", "search_step", "two_targets")
    machine.codes = {"timings": 1, "search_step": -11, "two_targets": 1}
    machine.said = dict.fromkeys(names, "Error: CUDA is out of memory\n")
    todo = [entry for entry in plan.entries(tmp_path) if entry.name in names]
    for _ in range(2):
        went = gpu_check.check(todo, tmp_path, 9000, ON, run=machine.run, now=machine.now)
        assert went == {
            "two_targets": "exit code 1: CUDA is out of memory",
            "timings": "exit code 1: CUDA is out of memory",
            "search_step": "exit code -11: CUDA is out of memory",
        }
    assert len(machine.commands) == 6
    machine.codes = {}
    went = gpu_check.check(todo, tmp_path, 9000, ON, run=machine.run, now=machine.now)
    assert set(went.values()) == {"done"}


def test_what_each_document_lacks(plan: ModuleType) -> None:
    way: dict[str, Any] = {"way": "RTX", "operators": [{"op": "conv", "latency_ms": 1.0}], "networks": []}
    absent = {"way": "TensorRT", "not_here": "install tensorrt"}
    assert plan.backends_lack({"ways": [way, absent]}) is None
    assert plan.backends_lack({"ways": [absent]}) == "no backend is here: install tensorrt"
    assert plan.backends_lack({"ways": [{**way, "fell_out": "lost"}, absent]}) == "RTX fell out: lost"
    way["operators"][0]["not_measured"] = "time was up"
    way["networks"] = [{"network": "student", "image_size": "512x1024", "not_measured": "no memory"}]
    assert plan.backends_lack({"ways": [way]}) == "RTX, conv: time was up; RTX, student at 512x1024: no memory"
    row = {"network": "icnet", "image_size": "512x1024", "latency_ms": None, "not_measured": "no memory"}
    assert plan.compare_lacks({"results": [row]}) == "icnet at 512x1024: no memory"
    assert plan.compare_lacks({"results": [{**row, "latency_ms": 1.0}]}) is None
    assert plan.compare_lacks({"results": []}) is not None
    dropped = {"bound": 0.05, "networks": [PREDICTED], "dropped": [{"name": "network 3", "reason": "no time"}]}
    assert plan.predicted_lacks(dropped) == "network 3 was dropped: no time"
    assert plan.predicted_lacks({**dropped, "dropped": []}) is None
    assert plan.timings_lack({"timings": []}) is not None


def test_a_bound_that_is_missed_is_reported_with_its_figures_and_not_measured_again(
    gpu_check: ModuleType, plan: ModuleType, tmp_path: Path
) -> None:
    off = {"name": "network 7", "predicted_ms": 1.1, "measured_ms": 1.0, "error": 0.1}
    machine, names = Machine(), ("trt", "torch", "predicted_latency")
    for name, figures in (("trt", {"pearson": 0.9921, "mape": 0.043}), ("torch", {"noise_ceiling": 0.992})):
        one = {"backend": name, "profile": WHOLE, "validations": [{**JUDGED, **figures}]}
        machine.documents[name] = {"targets": [one]}
    machine.documents["predicted_latency"] = {"bound": 0.05, "dropped": [], "networks": [PREDICTED, off]}
    machine.codes = dict.fromkeys(names, 1)
    todo = [entry for entry in plan.entries(tmp_path) if entry.name in names]
    for _ in range(2):
        went = gpu_check.check(todo, tmp_path, 9000, ON, run=machine.run, now=machine.now)
        assert went == {
            "trt": "bounds missed: trt, seed 1: r is below 0.993 and MAPE is above 3% "
            "(r 0.9921, noise ceiling 0.9993, MAPE 4.30%)",
            "torch": "bounds missed: torch, seed 1: whether r reaches 0.993 cannot be told from noise "
            "(r 0.9951, noise ceiling 0.9920, MAPE 2.10%)",
            "predicted_latency": "bounds missed: 1 of 2 networks are off by more than 5%, most of all network 7: "
            "predicted 1.100 ms, measured 1.000 ms (+10.0%)",
        }
    assert len(machine.commands) == 3
    kept = json.loads((tmp_path / "trt.json").read_text())
    assert kept["made"] == {"on": ON, "exit_code": 1, "how": "exit code 1: it said nothing"}
    assert kept["verdict"]["min_pearson"] == 0.993 and "r 0.9921" in kept["verdict"]["missed"]
    # A command that came to another end than that is done again, whatever its figures are.
    machine.codes = dict.fromkeys(names, -9)
    for name in names:
        (tmp_path / f"{name}.json").unlink()
    went = gpu_check.check(todo, tmp_path, 9000, ON, run=machine.run, now=machine.now)
    assert set(went.values()) == {"exit code -9: it said nothing"}


@pytest.mark.parametrize("change", [{"uuid": "GPU-0bbb"}, {"driver": "590"}, {"commit": None}, {"versions": {}}])
def test_what_was_done_elsewhere_is_done_again(
    gpu_check: ModuleType, plan: ModuleType, tmp_path: Path, change: dict[str, Any]
) -> None:
    machine, other = Machine(), {**ON, **change}
    todo = plan.entries(tmp_path)[:2]
    for on, how in ((ON, "done"), (ON, "done before"), (other, "done"), (other, "done before")):
        went = gpu_check.check(todo, tmp_path, 900, on, run=machine.run, now=machine.now)
        assert set(went.values()) == {how}
    assert gpu_check.folder_of(other) != gpu_check.folder_of(ON) == gpu_check.folder_of(dict(reversed(ON.items())))
    assert gpu_check.folder_of(ON).startswith("h100-")


def test_what_cannot_be_read_is_kept_under_another_name(
    gpu_check: ModuleType, plan: ModuleType, tmp_path: Path
) -> None:
    entry = plan.entries(tmp_path)[1]
    output = entry.output(tmp_path)
    for number in (1, 2):
        output.write_text('{"cut')
        assert plan.state(entry, tmp_path, ON).lacks == "no document"
        assert not output.exists() and (tmp_path / f"trt.unreadable-{number}").read_text() == '{"cut'
    made = {"on": ON, "exit_code": 0, "how": ""}
    for whole in ({"targets": "none", "made": made}, {"made": made}, {}, []):
        output.write_text(json.dumps(whole))
        assert "not as it was expected" in plan.state(entry, tmp_path, ON).lacks
        assert json.loads(output.read_text()) == whole, "a document that is whole stays"


def test_where_there_is_no_clone_the_commit_is_not_known(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert gpu_check.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_check.commit() is None


def test_the_identity_names_the_gpu_that_is_measured(gpu_check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: CARD)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="0bbb"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml_gpu())
    found = gpu_check.identity()
    assert (found["gpu"], found["uuid"], found["driver"]) == (CARD, "GPU-0aaa", "580.65.06")
    assert found["versions"]["torch"] == torch.__version__ and json.loads(json.dumps(found)) == found
    missing: ModuleType | None = None
    monkeypatch.setitem(sys.modules, "pynvml", missing)
    found = gpu_check.identity()
    assert (found["gpu"], found["uuid"], found["driver"]) == (CARD, "GPU-0bbb", None)


def test_time_is_kept(gpu_check: ModuleType, plan: ModuleType, tmp_path: Path) -> None:
    machine = Machine(takes_s=1000)
    machine.said["tests"] = "collecting\n"
    went = gpu_check.check(plan.entries(tmp_path), tmp_path, TEN_MINUTES, ON, run=machine.run, now=machine.now)
    assert went["tests"] == "not done in 90 s: collecting"
    assert went["trt"].startswith("not done in 300 s") and went["torch"].startswith("not done in 170 s")
    assert went["two_targets"].startswith("not done in 40 s")
    assert went["backends"] == "not begun: no time is left in this call"
    assert machine.limits == [90, 300, 170, 40] and machine.seconds == TEN_MINUTES


@pytest.mark.alone
def test_a_process_that_takes_too_long_goes_with_all_that_it_started(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "GRACE_S", 0.2)
    # A child that does not listen. Shells, as they are there at once.
    parent, log = """sh -c 'trap "" INT; echo $$; exec sleep 60'; true""", tmp_path / "log"
    assert gpu_check.run(["sh", "-c", parent], log, 1.0) is None
    _await_end(int(log.read_text().split()[0]))
    assert gpu_check.run([sys.executable, "-c", "import sys; sys.exit('Error: no')"], log, 30.0) == 1
    assert log.read_text() == "Error: no\n"


STOPPED = """
    import sys
    from pathlib import Path
    benchmarks, log = sys.argv.pop(1), sys.argv.pop(1)
    sys.path.insert(0, benchmarks)
    import gpu_check
    code = "import signal, subprocess, time\\n"
    code += "other = subprocess.Popen(['sleep', '60'])\\n"
    code += "try:\\n print(other.pid, flush=True); time.sleep(60)\\n"
    code += "except KeyboardInterrupt:\\n print('stored', flush=True)"
    gpu_check.main = lambda: gpu_check.run([sys.executable, "-c", code], Path(log), 60.0)
    gpu_check.begin()
"""


@pytest.mark.alone
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_itself_it_first_asks_what_it_started_to_stop(
    root: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", textwrap.dedent(STOPPED), str(root / "benchmarks"), str(log)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_text().endswith("\n")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in said
    child, *words = log.read_text().split()
    assert words == ["stored"], "it had the time to keep what it had"
    _await_end(int(child))


def _await_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def called(gpu_check: ModuleType, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call of the program on a machine with a GPU, and the summary that it leaves."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check = gpu_check.check

    def call(*options: str, on: dict[str, Any] = ON, code: int = 0) -> Any:
        monkeypatch.setattr(gpu_check, "identity", lambda: on)
        monkeypatch.setattr(gpu_check, "check", lambda *of, told: check(*of, told=told, run=machine.run))
        out = tmp_path / "runs" / "check.json"
        monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(out), *options])
        assert gpu_check.main() == code
        return json.loads(out.read_text())

    return call


def hows(summary: Any) -> dict[str, str]:
    return {name: one["how"] for name, one in summary["entries"].items()}


def test_what_earlier_calls_found_is_kept(called: Any, machine: Machine, tmp_path: Path) -> None:
    machine.documents, machine.said = {"torch": None}, {"torch": "Error: CUDA is out of memory\n"}
    first = called("--essential", code=1)
    oom = "exit code 1: CUDA is out of memory"
    assert first["made"]["on"] == ON
    assert hows(first) == {"tests": "done", "trt": "done", "torch": oom, "two_targets": "done"}
    second = called("--only", "timings")
    assert hows(second) == {**hows(first), "timings": "done"}
    # No time: what was found of it stays, and what was done is not said to be anything else.
    third = called("--minutes", "0", code=1)
    assert {name: hows(third)[name] for name in hows(second)} == hows(second)
    assert hows(third)["search_step"].startswith("not begun")
    machine.documents = {}
    assert hows(called("--only", "torch"))["torch"] == "done"
    # Another GPU, and the first one again.
    other = called("--only", "tests", on={**ON, "uuid": "GPU-0bbb"})
    assert hows(other) == {"tests": "done"} and other["folder"] != first["folder"]
    again = called("--only", "tests")
    assert again["folder"] == first["folder"] and hows(again) == {**hows(third), "torch": "done"}
    # Cut off while it was being written, it is not lost and stops nothing.
    kept = tmp_path / "runs" / "check" / first["folder"] / "check.json"
    kept.write_text('{"entries": {"cut')
    assert hows(called("--only", "tests")) == {"tests": "done before"}
    assert kept.with_suffix(".unreadable-1").exists()


def test_a_missed_bound_is_no_success(called: Any, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"backend": "trt", "profile": WHOLE, "validations": [{**JUDGED, "mape": 0.04}]}
    machine.documents = {"trt": {"targets": [one]}}
    for _ in range(2):
        called("--only", "tests", "trt", code=1)
        assert "2 entries, 0 not complete, 1 not within bounds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--only", "tests", "typo", "camvid"],
            "Error: there is no entry 'typo', 'camvid'; there are: tests, trt, torch",
        ),
        (["--only", "timings", "--essential"], "Error: none of the entries that --only names is an essential one"),
    ],
)
def test_an_entry_that_there_is_not_is_refused_in_one_line(
    gpu_check: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path / "some" / "check.json"), *options])
    assert gpu_check.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said) and list(tmp_path.iterdir()) == []


def test_without_a_device_nothing_is_checked(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path / "some" / "check.json")])
    assert gpu_check.main() == 3
    assert "no CUDA device here" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", [True, False])
def test_what_is_there_is_published_without_a_device(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device)
    monkeypatch.setattr(gpu_check, "ROOT", tmp_path)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path / "check.json"), "--publish"])
    assert gpu_check.main() == 1
    for name in (
        *("check/h100-1/two_targets.json", "check/h100-1/trt.json", "check/a100-2/backends.json"),
        *("check/h100-1/pictures/validation-trt.png", "check/h100-1/steps/trt-1/report.json"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "check.json").write_text(json.dumps({"folder": "h100-1"}))
    assert gpu_check.main() == 0
    copied = sorted(str(path.relative_to(tmp_path / "docs")) for path in (tmp_path / "docs").rglob("*.*"))
    assert copied == [
        "images/gpu-validation-trt.png",
        *(f"results/gpu/{name}.json" for name in ("check", "two_targets", "validation-trt-1")),
    ]


def test_captions_of_a_gpus_figures_name_the_gpu_and_its_driver(load: Load) -> None:
    tables, table = load("backend_tables"), load("generate_tables").table
    made = {"on": ON, "exit_code": 0, "how": ""}
    here = {
        "date": "2026-11-28T08:00:00",
        "machine": {"cpu_model": "EPYC", "cpu_count": 8, "virtualization": "container"},
    }
    gpu = "2026-11-28, NVIDIA H100, driver 580.1, container.*"
    assert tables.machine({**here, "made": made}, "x.py") == f"\n\n*`benchmarks/x.py`, {gpu}"
    assert tables.machine(here, "x.py").endswith("2026-11-28, EPYC, 8 cores, container.*")
    unknown = {"on": {**ON, "driver": None}}
    assert "NVIDIA H100, driver unknown" in tables.machine({**here, "made": unknown}, "x.py")
    entries = {"trt": {"how": "bounds missed: a|b", "date": "2026-11-27T08:00:00"}}
    text = tables.gpu_check({**here, "made": {"on": ON}, "entries": entries}, table)
    assert "| `trt` | bounds missed: a\\|b | 2026-11-27 |" in text and "commit abc; torch 2.9." in text and gpu in text
    bounds = {"min_pearson": 0.993, "max_mape": 0.03, "lacks": None, "missed": None}
    targets = {**here, "made": made, "targets": [], "space_settings": [], "image_size": "1024x2048"}
    text = tables.two_targets({**targets, "verdict": bounds}, table)
    assert "Within the bounds: r of at least 0.993, MAPE of at most 3%." in text and gpu in text
    missed = tables.two_targets({**targets, "verdict": {**bounds, "missed": "trt: r 0.99"}}, table)
    assert "Bounds missed (r of at least 0.993, MAPE of at most 3%): trt: r 0.99." in missed
    lacks = tables.two_targets({**targets, "verdict": {**bounds, "lacks": "trt: no GPU"}}, table)
    assert "Not judged by the bounds (r of at least 0.993, MAPE of at most 3%): trt: no GPU." in lacks
