"""Sessions of ONNX Runtime, and a runner whose inputs and outputs are bound once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.protocol import Array, Runner
from backends.runtimes import Runtime, onnx

if TYPE_CHECKING:
    import onnxruntime

INSTALL = "pip install 'latency-db[ort]'"
ONNX = onnx(INSTALL)
ORT = Runtime(module="onnxruntime", has="InferenceSession", oldest=(1, 20), before=2, install=INSTALL)

LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disable": "ORT_DISABLE_ALL",
}
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,  # A network may end in the classes' indices.
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
_QUIET = 3  # Errors only: warnings about graphs that it goes on to run would drown the progress.


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What runs a graph.

    Attributes:
        name: as ONNX Runtime has it.
        device: where its memory is, as ``OrtValue`` has it.
        options: for the provider.
    """

    name: str
    device: str
    options: Mapping[str, str] = field(default_factory=dict)


CPU = Provider(name="CPUExecutionProvider", device="cpu")


def open_session(
    path: Path,
    provider: Provider,
    *,
    level: str,
    threads: int = 1,
    spinning: bool = False,
    rewritten: Path | None = None,
) -> onnxruntime.InferenceSession:
    """A session on one provider and no other, one operator after the other.

    Args:
        path: a model.
        provider: what runs all of it.
        level: how far the graph may be rewritten, one of ``LEVELS``.
        threads: within an operator, on the CPU.
        spinning: whether idle threads spin.
        rewritten: leave the rewritten graph in this file.

    Raises:
        RuntimeError: the session has another provider than the one that was asked for.
        Exception: whatever ONNX Runtime raises, among it that the provider cannot run a part of the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    if rewritten is not None:
        options.optimized_model_filepath = str(rewritten)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if provider is not CPU:
        # What a provider has no kernel for would run on the CPU, copied there and back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.log_severity_level = _QUIET
    # Its own fallback prints, and begins anew on the CPU where a provider fails.
    session = onnxruntime.InferenceSession(
        str(path), options, providers=[(provider.name, dict(provider.options))], enable_fallback=0
    )
    if session.get_providers()[0] != provider.name:
        raise RuntimeError(f"asked for {provider.name}, ONNX Runtime took {session.get_providers()[0]}")
    return session


class OrtRunner(Runner):
    """A session whose inputs and outputs stay where they are from run to run.

    Args:
        session: its own.
        inputs: on the host.
        device: where inputs and outputs are to be.
    """

    def __init__(self, session: onnxruntime.InferenceSession, inputs: tuple[Array, ...], device: str) -> None:
        import onnxruntime

        binding = session.io_binding()
        values = []
        for info, array in zip(session.get_inputs(), inputs, strict=True):
            values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array, device))
            binding.bind_ortvalue_input(info.name, values[-1])
        self._outputs = []
        for info in session.get_outputs():
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(info.shape, _DTYPES[info.type], device)
            binding.bind_ortvalue_output(info.name, value)
            self._outputs.append(value)
        self._session: onnxruntime.InferenceSession | None = session
        self._binding: Any = binding
        # On the CPU an OrtValue is a view of the array: both must live as long as the binding.
        self._inputs = (inputs, values)

    def run(self) -> None:
        """Run once; it has finished on return."""
        if self._session is None:
            raise RuntimeError("this runner is closed")
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> tuple[Array, ...]:
        """Copies of what the last run wrote."""
        return tuple(value.numpy().copy() for value in self._outputs)

    def close(self) -> None:
        """Free the session and its memory."""
        self._binding = None
        self._session = None
        self._outputs = []
        self._inputs = ((), [])
