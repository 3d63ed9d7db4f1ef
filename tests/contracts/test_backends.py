"""The built-in backends keep the contract."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import ClassVar

import pytest

from backends.openvino import OpenVinoBackend
from backends.ort import OrtBackend
from backends.protocol import Backend
from backends.pytorch import TorchBackend
from backends.testing import BackendContract

RUNTIMES = ("torch", "onnx", "onnxruntime", "onnxscript", "openvino")


class TestOrt(BackendContract):
    backend_class: ClassVar[type[Backend]] = OrtBackend
    runtime_modules = RUNTIMES


class TestOrtUnoptimizedWithTwoThreads(BackendContract):
    backend_class: ClassVar[type[Backend]] = OrtBackend
    settings: ClassVar[dict[str, object]] = {"graph_optimization": "disable", "threads": 2, "spinning": True}
    runtime_modules = RUNTIMES


OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install '.[openvino]'"
)


@OPENVINO
class TestOpenVino(BackendContract):
    backend_class: ClassVar[type[Backend]] = OpenVinoBackend
    runtime_modules = RUNTIMES


@OPENVINO
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="OpenVINO takes no more threads than there are cores: one")
class TestOpenVinoWithTwoThreads(BackendContract):
    backend_class: ClassVar[type[Backend]] = OpenVinoBackend
    settings: ClassVar[dict[str, object]] = {"threads": 2}
    runtime_modules = RUNTIMES


class TestTorchEager(BackendContract):
    backend_class: ClassVar[type[Backend]] = TorchBackend
    runtime_modules = RUNTIMES


class TestTorchChannelsLast(BackendContract):
    backend_class: ClassVar[type[Backend]] = TorchBackend
    settings: ClassVar[dict[str, object]] = {"channels_last": True}
    runtime_modules = RUNTIMES


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
class TestTorchCompile(BackendContract):
    backend_class: ClassVar[type[Backend]] = TorchBackend
    settings: ClassVar[dict[str, object]] = {"mode": "compile"}
    runtime_modules = RUNTIMES


@pytest.mark.gpu
class TestTorchCuda(BackendContract):
    backend_class: ClassVar[type[Backend]] = TorchBackend
    settings: ClassVar[dict[str, object]] = {"device_type": "cuda"}
    runtime_modules = RUNTIMES


@pytest.mark.gpu
class TestTorchCudaGraph(BackendContract):
    backend_class: ClassVar[type[Backend]] = TorchBackend
    settings: ClassVar[dict[str, object]] = {"device_type": "cuda", "mode": "cudagraph"}
    runtime_modules = RUNTIMES
