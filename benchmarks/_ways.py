"""The ways to run a network that `every_backend.py` compares: registered backends with settings, here or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backends import registry
from backends.protocol import SettingValue

CPU, GPU = "cpu", "gpu"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A backend with settings.

    Attributes:
        name: for the table.
        backend: as it is registered.
        on: what it runs on, ``cpu`` or ``gpu``.
        settings: other than the defaults.
    """

    name: str
    backend: str
    on: str
    settings: Mapping[str, SettingValue] = field(default_factory=dict)


KNOWN = (
    Way(name="ONNX Runtime", backend="ort", on=CPU),
    Way(name="OpenVINO", backend="openvino", on=CPU),
    Way(name="PyTorch, eager", backend="torch", on=CPU),
    Way(name="PyTorch, compiled", backend="torch", on=CPU, settings={"mode": "compile"}),
    Way(name="TensorRT-RTX", backend="trt", on=GPU),
    Way(name="TensorRT-RTX, CUDA graph", backend="trt", on=GPU, settings={"cuda_graph": True}),
    Way(name="TensorRT-RTX, fp16", backend="trt", on=GPU, settings={"cuda_graph": True, "precision": "fp16"}),
    Way(name="TensorRT", backend="trt", on=GPU, settings={"flavour": "tensorrt", "cuda_graph": True}),
    Way(
        name="PyTorch, CUDA graph",
        backend="torch",
        on=GPU,
        settings={"device_type": "cuda", "mode": "cudagraph"},
    ),
    Way(name="PyTorch on CUDA, eager", backend="torch", on=GPU, settings={"device_type": "cuda"}),
    Way(
        name="PyTorch on CUDA, compiled",
        backend="torch",
        on=GPU,
        settings={"device_type": "cuda", "mode": "compile"},
    ),
    Way(name="ONNX Runtime, CUDA", backend="ort-cuda", on=GPU),
    Way(name="ONNX Runtime, TensorRT", backend="ort-tensorrt", on=GPU),
)


def ways(on: str | None = None, chosen: Sequence[str] = ()) -> list[Way]:
    """The known ways, and every other registered backend as it is.

    Args:
        on: those on ``cpu`` or on ``gpu`` alone; backends from elsewhere count as running on the CPU.
        chosen: those of these backends alone, whatever they run on.
    """
    known = {way.backend for way in KNOWN}
    others = [Way(name=name, backend=name, on=CPU) for name in registry.names() if name not in known]
    found = [*KNOWN, *others]
    if chosen:
        return [way for way in found if way.backend in chosen]
    return [way for way in found if on in (None, way.on)]
