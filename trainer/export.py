"""A network as an ONNX file, batch norms folded, found to give what torch gives before anyone gets to see it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latency_db.errors import LatencyDbError
from latency_db.keys import ImageSize
from trainer.runs.files import cannot

if TYPE_CHECKING:
    from torch import nn

    from backends.protocol import Array

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime's logits and torch's, over the largest of torch's."""


class ExportError(LatencyDbError):
    """The network cannot be exported, or what was exported is another network."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that was written and checked.

    Attributes:
        path: the file.
        size_bytes: its length.
        output_shape: of the logits, (1, C, h, w).
        difference: largest absolute difference from torch's logits, over the largest absolute value of those.
        batch_norms: how many are left in the graph: those that do not follow a convolution directly.
    """

    path: Path
    size_bytes: int
    output_shape: tuple[int, ...]
    difference: float
    batch_norms: int


def export_checked(module: nn.Module, image: ImageSize, path: Path) -> Exported:
    """Write a module as ONNX for inputs of (1, 3, H, W) float32, read it back into ONNX Runtime, compare with torch.

    The file takes the place of an older one only when it was found right.

    Args:
        module: in eval mode, on the CPU; takes an image, gives one tensor of logits.
        image: the one size that the file will take.
        path: the file.

    Raises:
        ExportError: the module cannot be exported or run, or the file's logits differ by more than
            :data:`TOLERANCE` of the largest; nothing is left behind.
        InputError: the file cannot be written.
        RuntimeMissingError: onnx or onnxruntime is not installed.
    """
    import numpy as np

    _require_runtime()
    from backends.errors import CompileError

    pixels = np.random.default_rng(0).standard_normal((1, 3, image.height, image.width), dtype=np.float32)
    try:
        expected, model = _run_and_export(module, pixels)
        difference = _write_and_compare(model, pixels, expected, path)
    except CompileError as error:
        raise ExportError(f"the network cannot be exported: {error.message}") from None
    return Exported(
        path=path,
        size_bytes=len(model),
        output_shape=tuple(expected.shape),
        difference=difference,
        batch_norms=_operators(model)["BatchNormalization"],
    )


def _write_and_compare(model: bytes, pixels: Array, expected: Array, path: Path) -> float:
    """The difference from torch, found with the file that is then ``path``."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        try:
            fresh.write_bytes(model)
        except OSError as error:
            raise cannot("write", path, error) from None
        difference = _difference(_run_file(fresh, pixels), expected)
        # Not "> TOLERANCE": of a difference that is no number, nothing would be larger.
        if not difference <= TOLERANCE:
            raise ExportError(
                f"the exported network differs from torch's by {difference:.1e} of its largest logit, more than "
                f"{TOLERANCE:g}: {path} was not written"
            )
        try:
            os.replace(fresh, path)
        except OSError as error:
            raise cannot("write", path, error) from None
    finally:
        fresh.unlink(missing_ok=True)
    return difference


def _require_runtime() -> None:
    from backends import registry

    registry.create("ort")


def _run_and_export(module: nn.Module, pixels: Array) -> tuple[Array, bytes]:
    """Torch's logits and the serialized model."""
    import torch

    from backends.compiling import compile_errors
    from backends.onnx_export import export_onnx

    height, width = pixels.shape[2:]
    # What a module's forward or an exporter raises is theirs to choose.
    with compile_errors(f"at {height}x{width}"):
        with torch.inference_mode():
            logits = module(torch.from_numpy(pixels))
        if not isinstance(logits, torch.Tensor):
            raise TypeError(f"it gives {type(logits).__name__}, not one tensor of logits")
        return logits.numpy(), export_onnx(module, (pixels,))


def _run_file(path: Path, pixels: Array) -> Array:
    """The logits that ONNX Runtime makes of it on the CPU, as it would for anyone."""
    import onnxruntime

    from backends.compiling import compile_errors

    with compile_errors("ONNX Runtime"):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {session.get_inputs()[0].name: pixels})
    logits: Array = output
    return logits


def _difference(actual: Array, expected: Array) -> float:
    """max |actual − expected| / max |expected|; infinite where the shapes differ; NaN where a value is."""
    import numpy as np

    if actual.shape != expected.shape:
        return float("inf")
    largest = float(np.max(np.abs(expected)))
    worst = float(np.max(np.abs(actual.astype(np.float64) - expected)))
    return worst / largest if largest > 0 else worst


def _operators(model: bytes) -> Counter[str]:
    import onnx

    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)
