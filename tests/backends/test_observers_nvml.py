"""What is seen of an NVIDIA GPU. NVML is a fake: no GPU has been observed by these tests."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from backends.observers import CONTENDED, THROTTLED
from backends.observers.nvml import BUSY_PERCENT, NOT_LISTED, REASONS, SLOWED_BY, NvmlObserver
from backends.ort import OrtBackend, OrtCudaBackend, OrtTensorRtBackend
from backends.protocol import Backend
from backends.pytorch import TorchBackend
from backends.trt import TrtBackend
from tests.backends.fake_nvml import ME, OTHER, busy, nvml_gpu


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def opened(monkeypatch: pytest.MonkeyPatch, **fail: str) -> tuple[NvmlObserver, Any]:
    module: Any = nvml_gpu(**fail)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    times = iter(range(1000, 10**9, 1000))
    return NvmlObserver(pid=ME, now_us=lambda: next(times)), module


def seen(observer: NvmlObserver) -> tuple[dict[str, Any], tuple[str, ...]]:
    observer.begin()
    found = observer.end()
    return dict(found.values), found.flags


def test_the_fake_has_no_function_that_the_real_bindings_lack() -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install nvidia-ml-py")
    faked = [name for name in vars(nvml_gpu()) if name.startswith(("nvml", "NVML"))]
    assert len(faked) > 20
    assert [name for name in faked if not hasattr(real, name)] == []
    reasons = {name: getattr(real, name) for name in dir(real) if name.startswith("nvmlClocksThrottleReason")}
    for bit, name in REASONS.items():
        assert reasons["nvmlClocksThrottleReason" + "".join(part.capitalize() for part in name.split("_"))] == bit
    for name in ("NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU", "NVML_ERROR_NOT_FOUND"):
        assert getattr(real, name) == getattr(nvml_gpu(), name)


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        (OrtBackend, ["cpu"]),
        (TorchBackend, ["cpu"]),
        (OrtCudaBackend, ["cpu", "nvml"]),
        (OrtTensorRtBackend, ["cpu", "nvml"]),
        (TrtBackend, ["cpu", "nvml"]),
    ],
)
def test_only_backends_on_an_nvidia_gpu_have_it(
    monkeypatch: pytest.MonkeyPatch, backend: type[Backend], names: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml_gpu())
    observers = backend().observers()
    assert [observer.name for observer in observers] == names
    for observer in observers:
        observer.close()


@pytest.mark.parametrize(("version", "names"), [("12.4", ["cpu", "nvml"]), (None, ["cpu"])])
def test_torch_on_cuda_has_it_unless_that_is_rocm(
    monkeypatch: pytest.MonkeyPatch, version: str | None, names: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml_gpu())
    monkeypatch.setattr("torch.version.cuda", version)
    backend = TorchBackend()
    backend.settings["device_type"] = "cuda"
    assert [observer.name for observer in backend.observers()] == names


def test_everything_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    values, flags = seen(observer)
    assert values == {
        "gpu_sm_clock_mhz": 1695,
        "gpu_memory_clock_mhz": 9751,
        "gpu_temperature_c": 61,
        "gpu_power_w": 215.3,
        "gpu_clock_reasons": (),
        "gpu_other_processes": 0,
        "gpu_memory_mib": 512.0,
        "gpu_peak_memory_mib": 512.0,
        "gpu_others_busy_percent": 0,
    }
    assert flags == ()
    assert set(observer.sources().values()) == {None}
    observer.close()
    observer.close()
    assert module.open == 0, "what was opened is closed"


@pytest.mark.parametrize(("bit", "name"), REASONS.items())
def test_only_what_slows_the_gpu_down_is_throttling(monkeypatch: pytest.MonkeyPatch, bit: int, name: str) -> None:
    observer, module = opened(monkeypatch)
    module.state.reasons = bit
    values, flags = seen(observer)
    assert values["gpu_clock_reasons"] == (name,)
    assert flags == ((THROTTLED,) if name in SLOWED_BY else ())
    slows = {"sw_power_cap", "hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
    assert (name in SLOWED_BY) == (name in slows)


def test_a_reason_that_held_before_the_samples_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    module.state.reasons = 0x40
    observer.begin()
    module.state.reasons = 0x1
    found = observer.end()
    assert found.values["gpu_clock_reasons"] == ("gpu_idle", "hw_thermal_slowdown")
    assert found.flags == (THROTTLED,)
    assert seen(observer)[1] == (), "and only in its own visit"


def test_a_reason_that_is_not_known_is_named_by_its_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    module.state.reasons = 0x400 | 0x2
    assert seen(observer) == (
        seen(observer)[0] | {"gpu_clock_reasons": ("applications_clocks_setting", "0x400")},
        (),
    )


@pytest.mark.parametrize(("percent", "flags"), [(BUSY_PERCENT, ()), (BUSY_PERCENT + 1, (CONTENDED,))])
def test_another_process_that_keeps_the_gpu_busy_is_contention(
    monkeypatch: pytest.MonkeyPatch, percent: int, flags: tuple[str, ...]
) -> None:
    observer, module = opened(monkeypatch)
    other = type(module.state.processes[0])(pid=OTHER, usedGpuMemory=None)
    module.state.processes.append(other)
    module.state.samples = [busy(ME, 99), busy(OTHER, 1), busy(OTHER, percent)]
    values, found = seen(observer)
    assert (values["gpu_other_processes"], values["gpu_others_busy_percent"]) == (1, percent)
    assert found == flags


def test_another_process_that_does_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    module.state.processes.append(type(module.state.processes[0])(pid=OTHER, usedGpuMemory=1))
    values, flags = seen(observer)
    assert values["gpu_other_processes"] == 1 and flags == ()


def test_every_sample_of_utilization_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    for _ in range(3):
        seen(observer)
    asked = module.state.asked_us
    assert len(asked) == 3 and asked == sorted(set(asked))


def test_in_another_namespace_nobody_is_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    module.state.processes = [type(module.state.processes[0])(pid=99, usedGpuMemory=1)]
    module.state.samples = [busy(99, 100)]
    values, flags = seen(observer)
    assert flags == ()
    assert not {"gpu_other_processes", "gpu_memory_mib", "gpu_others_busy_percent"} & set(values)
    told = {name: why for name, why in observer.sources().items() if why is not None}
    assert told == dict.fromkeys(("processes", "process_utilization"), NOT_LISTED)


def test_the_most_memory_of_all_visits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    found = []
    for mib in (100, 300, 200):
        module.state.processes[0].usedGpuMemory = mib * 2**20
        values, _ = seen(observer)
        found.append((values["gpu_memory_mib"], values["gpu_peak_memory_mib"]))
    assert found == [(100, 100), (300, 300), (200, 300)]
    module.state.processes[0].usedGpuMemory = None
    assert "gpu_memory_mib" not in seen(observer)[0]


READS = (
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetProcessUtilization",
)


def test_what_is_not_supported_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a part of a GPU (MIG)."""
    observer, _ = opened(monkeypatch, **{name: "Not Supported" for name in READS})
    assert seen(observer) == ({}, ())
    assert set(observer.sources().values()) == {"NVML does not support it on this GPU"}


def test_older_bindings_call_the_reasons_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, module = opened(monkeypatch)
    del module.nvmlDeviceGetCurrentClocksEventReasons
    module.state.reasons = 0x8
    assert seen(observer)[1] == (THROTTLED,)


def test_without_a_gpu_nothing_is_seen_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    observer, _ = opened(monkeypatch, nvmlInit="NVML Shared Library Not Found")
    assert seen(observer) == ({}, ())
    assert "NVML Shared Library Not Found" in (observer.sources()["GPU"] or "")
    missing: ModuleType | None = None
    monkeypatch.setitem(sys.modules, "pynvml", missing)
    observer = NvmlObserver()
    assert seen(observer) == ({}, ())
    assert "pynvml" in (observer.sources()["GPU"] or "")
    observer.close()
