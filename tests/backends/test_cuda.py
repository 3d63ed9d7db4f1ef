"""Both drivers of CUDA say the same, and name the same mistakes. No GPU: the drivers are fakes of the real APIs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from backends.cuda import CudaError, CudaEventClock, open_cuda
from backends.errors import RuntimeMissingError
from tests.backends.fake_nvidia import GPU, Device, Nvidia, Status, cuda_runtime, machine


@pytest.fixture(params=["cuda-python", "pycuda"])
def nvidia(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvidia]:
    yield from machine(monkeypatch, tmp_path, "8.6.1", request.param)


@pytest.fixture
def cuda_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvidia]:
    yield from machine(monkeypatch, tmp_path, "8.6.1", "cuda-python")


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nvidia]:
    yield from machine(monkeypatch, tmp_path, "8.6.1", "pycuda")


def test_the_fake_of_cuda_python_has_no_function_that_the_real_one_lacks() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    faked = [name for name in vars(cuda_runtime(Device())) if name.startswith("cuda")]
    assert len(faked) > 15
    assert [name for name in faked if not hasattr(runtime, name)] == []
    assert runtime.cudaMemcpyKind.cudaMemcpyHostToDevice != runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal == 1


def test_what_the_device_is(nvidia: Nvidia) -> None:
    gpu = open_cuda().gpu()
    assert (gpu.name, gpu.capability, gpu.driver_version) == (GPU, (6, 1), "12.4")
    assert gpu.memory_bytes == 11 * 2**30


def test_arrays_there_and_back(nvidia: Nvidia) -> None:
    cuda = open_cuda()
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    address = cuda.allocate(array.nbytes)
    cuda.upload(address, array)
    np.testing.assert_array_equal(cuda.download(address, (2, 3, 4), np.float32), array)
    cuda.free(address)
    assert nvidia.device.memory == {}


def test_the_clock_times_between_its_events(nvidia: Nvidia) -> None:
    cuda = open_cuda()
    clock = CudaEventClock(cuda, cuda.create_stream())
    clock.start()
    assert 0 < clock.stop() < 1000


def test_cuda_python_comes_first(cuda_python: Nvidia) -> None:
    assert open_cuda().name == "cuda-python"
    assert open_cuda() is open_cuda()


def test_the_older_name_of_cuda_python(cuda_python: Nvidia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.cudart", sys.modules["cuda.bindings.runtime"])
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    assert open_cuda().name == "cuda-python"


def test_an_error_has_its_name(cuda_python: Nvidia) -> None:
    cuda = open_cuda()
    cuda_python.device.failing["cudaMalloc"] = Status.cudaErrorMemoryAllocation
    with pytest.raises(CudaError, match="cudaMalloc failed: cudaErrorMemoryAllocation") as caught:
        cuda.allocate(8)
    assert caught.value.name == "cudaErrorMemoryAllocation"


def test_an_error_of_pycuda_has_its_name(pycuda: Nvidia) -> None:
    cuda = open_cuda()
    pycuda.device.failing["cuMemAlloc"] = "MemoryError"
    with pytest.raises(CudaError, match="cuMemAlloc failed: MemoryError: cuMemAlloc failed: as the test") as caught:
        cuda.allocate(8)
    assert caught.value.name == "MemoryError"


@pytest.mark.parametrize("status", [Status.cudaErrorNoDevice, RuntimeError("no libcuda.so.1")])
def test_no_device_or_no_driver(cuda_python: Nvidia, status: Status | RuntimeError) -> None:
    cuda_python.device.failing["cudaGetDeviceCount"] = status
    with pytest.raises(RuntimeMissingError, match=r"cudaErrorNoDevice|no libcuda\.so\.1") as caught:
        open_cuda()
    assert "driver" in str(caught.value.hint) and "\n" not in str(caught.value)


def test_no_device_for_pycuda(pycuda: Nvidia) -> None:
    pycuda.device.failing["cuInit"] = "RuntimeError"
    with pytest.raises(RuntimeMissingError, match="cuInit failed"):
        open_cuda()


def test_neither_driver_is_installed(pycuda: Nvidia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(RuntimeMissingError, match=r"neither cuda-python nor pycuda .*pip install cuda-python"):
        open_cuda()


@pytest.mark.parametrize("error", ["ImportError", "OSError", "AttributeError", "RuntimeError"])
def test_a_driver_that_cannot_be_imported(
    pycuda: Nvidia, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str
) -> None:
    folder = tmp_path / "pycuda"
    folder.mkdir()
    folder.joinpath("__init__.py").touch()
    folder.joinpath("driver.py").write_text(f"raise {error}('libcuda.so.1: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "pycuda.driver")
    package = ModuleType("pycuda")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    with pytest.raises(RuntimeMissingError, match=r"pycuda\.driver cannot be imported: .*libcuda\.so\.1"):
        open_cuda()


def test_a_graph_is_captured_without_running_and_replayed(cuda_python: Nvidia) -> None:
    cuda, ran = open_cuda(), []
    stream = cuda.create_stream()
    graph = cuda.capture(stream, lambda: cuda_python.device.enqueue(lambda: ran.append(1)))
    assert ran == []
    cuda.launch(graph, stream)
    cuda.launch(graph, stream)
    assert ran == [1, 1]
    cuda.free_graph(graph)


def test_a_capture_that_fails_is_ended(cuda_python: Nvidia) -> None:
    cuda = open_cuda()

    def enqueue() -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        cuda.capture(cuda.create_stream(), enqueue)
    assert cuda_python.device.recording is None


def test_pycuda_has_no_graphs_and_says_who_has(pycuda: Nvidia) -> None:
    with pytest.raises(RuntimeMissingError, match="pip install cuda-python"):
        open_cuda().capture(7, lambda: None)
