"""Which GPU is described, and what is said where there is none. NVML is a fake of the real bindings."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from backends.errors import RuntimeMissingError
from backends.nvml import first_gpu
from tests.backends.fake_ort_gpu import CARD, pynvml_with

OTHER = "Tesla P4"


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment says which GPU to take."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def install(monkeypatch: pytest.MonkeyPatch, *names: str, **fail: str) -> ModuleType:
    module = pynvml_with(*names, **fail)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_the_fake_has_no_function_that_the_real_bindings_lack() -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install nvidia-ml-py")
    faked = [name for name in vars(pynvml_with(CARD)) if name.startswith(("nvml", "NVML"))]
    assert len(faked) > 8
    assert [name for name in faked if not hasattr(real, name)] == []


def test_the_only_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    module = install(monkeypatch, CARD)
    gpu = first_gpu()
    assert (gpu.name, gpu.capability, gpu.memory_bytes, gpu.driver) == (CARD, (8, 6), 24 * 2**30, "580.65.06")
    assert gpu.environment == {
        "gpu": CARD,
        "gpu_memory_gib": 24.0,
        "gpu_capability": "8.6",
        "driver": "580.65.06",
    }
    assert module.__dict__["open"] == 0, "what was opened is closed"


@pytest.mark.parametrize(
    ("order", "visible", "name"),
    [
        ("PCI_BUS_ID", None, CARD),
        ("PCI_BUS_ID", "1,0", OTHER),
        (None, "GPU-1", OTHER),
        (None, "GPU-0aaa,GPU-1bbb", CARD),
        (None, "MIG-1", OTHER),
    ],
)
def test_the_first_that_cuda_sees(
    monkeypatch: pytest.MonkeyPatch, order: str | None, visible: str | None, name: str
) -> None:
    install(monkeypatch, CARD, OTHER)
    for variable, value in (("CUDA_DEVICE_ORDER", order), ("CUDA_VISIBLE_DEVICES", visible)):
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert first_gpu().name == name


def test_gpus_of_one_kind_need_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, CARD, CARD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert first_gpu().name == CARD


@pytest.mark.parametrize("visible", [None, "0", "1"])
def test_which_of_several_kinds_is_meant_is_not_guessed(monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    install(monkeypatch, CARD, OTHER)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RuntimeMissingError, match=r"Tesla P4.*CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        first_gpu()


@pytest.mark.parametrize("visible", ["", "-1", "7", "NoDevFiles", "GPU-9"])
def test_no_gpu_is_visible(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    install(monkeypatch, CARD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RuntimeMissingError, match=f"none of 1 GPUs is CUDA_VISIBLE_DEVICES={visible}"):
        first_gpu()


def test_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(RuntimeMissingError, match="there is no GPU"):
        first_gpu()


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetName"])
def test_no_driver_is_one_line(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    module = install(monkeypatch, CARD, **{function: "NVML Shared Library Not Found"})
    with pytest.raises(RuntimeMissingError, match=r"NVML Shared Library Not Found.*NVIDIA driver") as caught:
        first_gpu()
    assert "\n" not in str(caught.value)
    assert module.__dict__["open"] == 0


def test_the_bindings_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(RuntimeMissingError, match=r"pynvml.*pip install nvidia-ml-py"):
        first_gpu()
