"""Clocks are locked while something is measured, and put back whatever ends it. NVML is a fake that writes a log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import gpu_clocks
from backends.gpu_clocks import ClockError, at_clock, lockable_mhz, locked
from tests.backends.fake_nvml import nvml_folder, nvml_gpu
from tests.conftest import ROOT
from tests.fakes import FakeBackend

LOCKED, RESET = "locked GPU-0aaa 1395 1395", "reset GPU-0aaa"


class OnGpu(FakeBackend):
    """Says that it runs on an NVIDIA GPU."""

    @property
    def on_nvidia_gpu(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "clocks.log"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Path) -> Callable[..., None]:
    """Make the fake what this process and the guard import."""

    def install(refuse: str | None = None) -> None:
        monkeypatch.syspath_prepend(str(nvml_folder(tmp_path / "bindings", log, refuse=refuse)))
        monkeypatch.delitem(sys.modules, "pynvml", raising=False)

    yield install
    sys.modules.pop("pynvml", None)


def lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


# Which clock


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = nvml_gpu()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_by_default_it_is_the_default_applications_clock(gpu: Any) -> None:
    assert lockable_mhz(OnGpu(), "default") == 1395
    assert lockable_mhz(OnGpu(), 1410) == 1410
    assert gpu.open == 0


def test_a_clock_that_there_is_not_is_refused_with_the_nearest(gpu: Any) -> None:
    with pytest.raises(ClockError, match=r"no graphics clock of 1400 MHz \(the nearest are 1395 and 1410\)"):
        lockable_mhz(OnGpu(), 1400)
    with pytest.raises(ClockError, match=r"nearest are 1800\)"):
        lockable_mhz(OnGpu(), 5000)


def test_without_a_default_clock_one_has_to_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml_gpu(nvmlDeviceGetDefaultApplicationsClock="Not Supported")
    monkeypatch.setitem(sys.modules, "pynvml", module)
    with pytest.raises(ClockError, match=r"default applications clock \(choose one from 210 to 1800 MHz"):
        lockable_mhz(OnGpu(), "default")
    assert lockable_mhz(OnGpu(), 210) == 210


def test_where_nvml_lists_none_any_clock_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml_gpu(nvmlDeviceGetSupportedMemoryClocks="Not Supported"))
    assert lockable_mhz(OnGpu(), 1234) == 1234


def test_a_part_of_a_gpu_is_refused(gpu: Any) -> None:
    gpu.state.mig = True
    with pytest.raises(ClockError, match="MIG"):
        lockable_mhz(OnGpu(), "default")


def test_a_cpu_is_refused_in_one_line(gpu: Any) -> None:
    with pytest.raises(ClockError, match="--lock-clocks is for NVIDIA GPUs: backend 'fake'") as caught:
        lockable_mhz(FakeBackend(), "default")
    assert "\n" not in str(caught.value)


def test_another_clock_is_another_target() -> None:
    plain = FakeBackend().target()
    assert at_clock(plain, None) == plain
    keys = {plain.key, at_clock(plain, 1395).key, at_clock(plain, 1410).key}
    assert len(keys) == 3
    assert at_clock(plain, 1395).settings["locked_clock_mhz"] == 1395


# Locking and putting back


def test_it_is_locked_inside_and_put_back_after(nvml: Callable[..., None], log: Path) -> None:
    nvml()
    with locked(1395):
        assert lines(log) == [LOCKED]
    assert lines(log) == [LOCKED, RESET]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_it_is_put_back_whatever_is_raised(nvml: Callable[..., None], log: Path, error: type[BaseException]) -> None:
    nvml()
    with pytest.raises(error), locked(1395):
        raise error
    assert lines(log) == [LOCKED, RESET]


def test_without_permission_it_says_how(nvml: Callable[..., None], log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml("permission")
    monkeypatch.setattr(sys, "argv", ["/opt/bin/latency-db", "profile", "--device", "a b"])
    with pytest.raises(ClockError) as caught, locked(1395):
        raise AssertionError("it must not begin")
    assert str(caught.value) == (
        "locking the GPU's clocks needs root: Insufficient Permissions "
        "(sudo --preserve-env /opt/bin/latency-db profile --device 'a b')"
    )
    assert lines(log) == [], "what was not locked is not reset either"


def test_another_refusal_is_told_in_nvml_s_words(nvml: Callable[..., None], log: Path) -> None:
    nvml("Not Supported")
    with pytest.raises(ClockError, match="cannot be locked at 1395 MHz: Not Supported"), locked(1395):
        raise AssertionError("it must not begin")
    assert lines(log) == []


def test_a_second_one_is_refused_while_the_first_goes_on(nvml: Callable[..., None], log: Path) -> None:
    nvml()
    with locked(1395):
        with pytest.raises(ClockError) as caught, locked(1410):
            raise AssertionError("it must not begin")
        assert str(caught.value) == "another process holds this GPU's clocks locked (try again when it has ended)"
        assert lines(log) == [LOCKED], "nor are the clocks of the first one reset"
    with locked(1395):
        pass
    assert lines(log) == [LOCKED, RESET] * 2


def test_a_lock_that_cannot_be_made_is_told(nvml: Callable[..., None], tmp_path: Path) -> None:
    nvml()
    (tmp_path / f"latency-db-clocks-GPU-0aaa-{os.getuid()}.lock").mkdir()
    with pytest.raises(ClockError, match=r"cannot be locked at 1395 MHz: .*directory"), locked(1395):
        raise AssertionError("it must not begin")


def test_where_the_guard_was_killed_this_process_puts_it_back(
    nvml: Callable[..., None], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml()
    guards: list[Any] = []
    start = gpu_clocks._start
    monkeypatch.setattr(gpu_clocks, "_start", lambda *of: guards.append(start(*of)) or guards[-1])
    with locked(1395):
        guards[0].kill()
        guards[0].wait()
    assert lines(log) == [LOCKED, RESET]


CODE = """
import signal, sys, time
from backends.gpu_clocks import locked
with locked(1395):
    print("inside", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_is_put_back_when_the_process_is_killed(tmp_path: Path, log: Path, number: signal.Signals) -> None:
    folder = nvml_folder(tmp_path / "bindings", log)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        assert lines(log) == [LOCKED]
        # Ctrl-C goes to the whole group; the guard is in none of it.
        os.killpg(process.pid, number)
        process.wait(timeout=20)
    finally:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 20
    while RESET not in lines(log) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lines(log) == [LOCKED, RESET]
