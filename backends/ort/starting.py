"""Whether ONNX Runtime can start a provider: built with one does not mean that its libraries are here."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import cache

import numpy as np

from backends.compiling import compile_errors
from backends.errors import CompileError, RuntimeMissingError

_SILENT = 4


@cache
def start(provider: str, needs: str) -> None:
    """Start a provider on a graph of one operator, once in a process.

    Args:
        provider: as ONNX Runtime has it.
        needs: what has to be installed for it.

    Raises:
        RuntimeMissingError: ONNX Runtime cannot start it, or would go on without it.
    """
    import onnxruntime
    from torch import nn

    from backends.onnx_export import export_onnx

    said = io.StringIO()
    with redirect_stdout(said):  # It prints what it does not find.
        onnxruntime.preload_dlls()  # CUDA's libraries out of the packages that pip brings.
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT  # What is wrong is said below.
    model = export_onnx(nn.ReLU().eval(), (np.zeros((1, 1, 4, 4), np.float32),))
    try:
        with compile_errors(provider):
            session = onnxruntime.InferenceSession(model, options, providers=[provider], enable_fallback=0)
    except CompileError as error:
        raise RuntimeMissingError(error.message, hint=needs) from error
    if session.get_providers()[0] != provider:
        because = " ".join(said.getvalue().split())
        raise RuntimeMissingError(
            f"onnxruntime {onnxruntime.__version__} cannot start {provider}{': ' if because else ''}{because}",
            hint=needs,
        )
