"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from backends import program_files
from backends.compiling import compile_errors
from backends.cpu_backend import CpuBackend
from backends.ort.session import CPU, LEVELS, ONNX, ORT, OrtRunner, open_session
from backends.protocol import Program, Runner, Setting, SettingValue, Workload


class OrtBackend(CpuBackend):
    """Runs the exported ONNX model, inputs and outputs bound to memory that is allocated once."""

    name = "ort"
    runtime = ORT
    needs = (ONNX,)
    settings_schema: ClassVar[dict[str, Setting]] = {
        "threads": Setting(default=1, minimum=1, help="threads within an operator"),
        "graph_optimization": Setting(
            default="all", choices=tuple(LEVELS), help="how far the runtime may rewrite the graph"
        ),
        # A pool that spins keeps its cores busy between runs. A loop that times many loaded models by turns has as
        # many pools, and those that wait then slow the one that is timed by tens of percent. One thread has no pool.
        "spinning": Setting(default=False, help="idle threads spin instead of sleeping; no effect with one thread"),
    }

    @property
    def runtime_version(self) -> str:
        """All of it: one nightly build is not another."""
        import onnxruntime

        return str(onnxruntime.__version__)

    def compile(self, workload: Workload) -> Program:
        """Export the workload to an ONNX file of its own, already rewritten for this machine.

        Loading is then reading: a session that is made in every visit would rewrite the same graph each time.
        """
        from backends.onnx_export import export_onnx

        inputs = workload.inputs()
        with compile_errors(workload.name):
            model = export_onnx(workload.build(), inputs)
        path = program_files.new_path(".onnx")
        exported = path.with_suffix(".exported.onnx")
        try:
            program_files.write(exported, model)
            with compile_errors(workload.name):
                open_session(
                    exported,
                    CPU,
                    level=str(self.settings["graph_optimization"]),
                    threads=int(self.settings["threads"]),
                    spinning=bool(self.settings["spinning"]),
                    rewritten=path,
                )
        finally:
            exported.unlink(missing_ok=True)
        return _OrtProgram(workload, path, self.settings)


class _OrtProgram(Program):
    """An ONNX file, as the runtime rewrote it for this machine, in the private folder of this process."""

    def __init__(self, workload: Workload, path: Path, settings: dict[str, SettingValue]) -> None:
        self._workload = workload
        self._path = path
        self._settings = settings

    def load(self) -> Runner:
        """A session of its own."""
        with compile_errors(self._workload.name):
            session = open_session(
                self._path,
                CPU,
                level="disable",  # It was rewritten already.
                threads=int(self._settings["threads"]),
                spinning=bool(self._settings["spinning"]),
            )
            return OrtRunner(session, self._workload.inputs(), CPU.device)

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
