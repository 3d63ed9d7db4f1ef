"""OpenVINO on the CPU."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from backends import program_files
from backends.compiling import compile_errors
from backends.cpu_backend import CpuBackend
from backends.errors import InvalidSettingError
from backends.protocol import Array, Program, Runner, Setting, SettingValue, Workload
from backends.runtimes import Runtime, onnx

if TYPE_CHECKING:
    import openvino

INSTALL = "pip install 'latency-db[openvino]'"
# At each import OpenVINO tells its makers so over the network, in threads beside what is measured, by this module.
TELEMETRY = "openvino_telemetry"
OPENVINO = Runtime(module="openvino", has="Core", oldest=(2025, 0), before=2027, install=INSTALL, without=(TELEMETRY,))
ONNX = onnx(INSTALL)

_DEVICE = "CPU"
# Where in OpenVINO's sources something was noticed, and headings: line upon line before the one that says what.
_WHERE = re.compile(
    r"(?:Exception from \S+:\d+:?|Check '.*' failed at \S+:\d+:?|FrontEnd API failed with \w+:"
    r"|Model wasn't fully converted\.|Summary:)"
)


class OpenVinoBackend(CpuBackend):
    """Runs the exported ONNX model by OpenVINO's CPU plugin, in float32, one inference at a time."""

    name = "openvino"
    runtime = OPENVINO
    needs = (ONNX,)
    settings_schema: ClassVar[dict[str, Setting]] = {
        "threads": Setting(default=1, minimum=1, help="threads within an operator"),
        # OpenVINO's own default. All models are then pinned to the same cores, and what else runs there is waited for:
        # on two cores, one of them busy, that doubles the latency half of the time.
        "pinning": Setting(default=False, help="threads keep to one core each instead of going where there is room"),
    }

    def compile(self, workload: Workload) -> Program:
        """Export the workload to ONNX, compile that, and keep what it was compiled to in a file.

        Loading is then reading: what OpenVINO rewrites in a graph is not rewritten in every visit.
        """
        from backends.onnx_export import export_onnx

        with compile_errors(workload.name):
            model = export_onnx(workload.build(), workload.inputs())
        blob = io.BytesIO()
        with compile_errors(workload.name), _plain_errors():
            core = _core()
            compiled = core.compile_model(core.read_model(model), _DEVICE, _properties(self.settings))
            self._check_threads(int(compiled.get_property("INFERENCE_NUM_THREADS")))
            compiled.export_model(blob)
        path = program_files.new_path(".blob")
        program_files.write(path, blob.getvalue())
        return _OpenVinoProgram(workload, path, self.settings)

    def _check_threads(self, taken: int) -> None:
        """OpenVINO takes fewer threads than it is asked for, without a word, where there are fewer cores."""
        if taken != self.settings["threads"]:
            raise InvalidSettingError(
                f"setting threads={self.settings['threads']}: OpenVINO takes no more than {taken} here"
            )


class _OpenVinoProgram(Program):
    """A compiled model in a file, in the private folder of this process."""

    def __init__(self, workload: Workload, path: Path, settings: dict[str, SettingValue]) -> None:
        self._workload = workload
        self._path = path
        self._settings = settings

    def load(self) -> Runner:
        """A compiled model of its own."""
        with compile_errors(self._workload.name), _plain_errors():
            compiled = _core().import_model(self._path.read_bytes(), _DEVICE, _properties(self._settings))
            return _OpenVinoRunner(compiled.create_infer_request(), self._workload.inputs())

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


class _OpenVinoRunner(Runner):
    """A request whose inputs and outputs stay where they are from run to run: in tensors of its own."""

    def __init__(self, request: openvino.InferRequest, inputs: tuple[Array, ...]) -> None:
        for tensor, array in zip(request.input_tensors, inputs, strict=True):
            tensor.data[...] = array
        self._request: openvino.InferRequest | None = request
        self._outputs = list(request.output_tensors)

    def run(self) -> None:
        """Run once; it has finished on return."""
        if self._request is None:
            raise RuntimeError("this runner is closed")
        self._request.infer(share_outputs=True)  # What it returns are views, not copies.

    def outputs(self) -> tuple[Array, ...]:
        """Copies of what the last run wrote."""
        return tuple(tensor.data.copy() for tensor in self._outputs)

    def close(self) -> None:
        """Free the request, what it runs and its memory."""
        self._outputs = []
        self._request = None


@cache
def _core() -> Any:
    """OpenVINO itself: one for the process, as it reads its plugins when it is made."""
    return OPENVINO.load().Core()


def _properties(settings: dict[str, SettingValue]) -> dict[str, str]:
    """What the plugin is told."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(settings["threads"]),
        # Left to itself it would round to bfloat16 on CPUs that can.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": "YES" if settings["pinning"] else "NO",
        "ENABLE_HYPER_THREADING": "YES",  # As many threads as were asked for, also beyond one for each physical core.
    }


@contextmanager
def _plain_errors() -> Iterator[None]:
    """OpenVINO's errors by what they say, not by where in its sources they were noticed."""
    try:
        yield
    except RuntimeError as error:
        lines = (line.strip(" -") for line in str(error).splitlines())
        said = next((line for line in lines if line and not _WHERE.fullmatch(line)), "")
        raise RuntimeError(said or "OpenVINO does not say what") from error
