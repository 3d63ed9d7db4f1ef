"""ONNX Runtime on the CPU."""

from __future__ import annotations

import atexit
import importlib.util
import os
import secrets
import shutil
import time
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from backends import environment
from backends.compiling import compile_errors
from backends.cpu_clock import PerfCounterClock
from backends.errors import BackendError
from backends.protocol import Array, Availability, Backend, Program, Runner, Setting, SettingValue, Target, Workload

if TYPE_CHECKING:
    import onnxruntime

INSTALL = "pip install 'latency-db[ort]'"
PROVIDER = "CPUExecutionProvider"

_LEVELS = {
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
_YOUNG_S = 60.0


class OrtBackend(Backend):
    """Runs the exported ONNX model, inputs and outputs bound to memory that is allocated once."""

    name = "ort"
    settings_schema: ClassVar[dict[str, Setting]] = {
        "threads": Setting(default=1, minimum=1, help="threads within an operator"),
        "graph_optimization": Setting(
            default="all", choices=tuple(_LEVELS), help="how far the runtime may rewrite the graph"
        ),
        # A pool that spins keeps its cores busy between runs. A loop that times many loaded models by turns has as
        # many pools, and those that wait then slow the one that is timed by tens of percent. One thread has no pool.
        "spinning": Setting(default=False, help="idle threads spin instead of sleeping; no effect with one thread"),
    }

    @classmethod
    def availability(cls) -> Availability:
        """Whether ``onnxruntime`` and ``onnx`` can be imported."""
        if importlib.util.find_spec("onnx") is None:
            return Availability(available=False, runtime="onnxruntime", reason="onnx is not installed", install=INSTALL)
        try:
            import onnxruntime
        except ImportError as error:
            return Availability(available=False, runtime="onnxruntime", reason=str(error), install=INSTALL)
        return Availability(available=True, runtime="onnxruntime", runtime_version=onnxruntime.__version__)

    @cached_property
    def clock(self) -> PerfCounterClock:
        """Wall time: a run has finished when it returns."""
        return PerfCounterClock()

    def target(self, device: str | None = None) -> Target:
        """This machine's CPU under this runtime and these settings."""
        import onnxruntime

        env = environment.describe()
        model = str(env["cpu_model"])
        return Target(
            device=device or environment.device_slug(model, int(env["cpu_count"])),
            device_name=model,
            backend=self.name,
            runtime="onnxruntime",
            runtime_version=onnxruntime.__version__,
            precision="fp32",
            settings=dict(self.settings),
            fingerprint=environment.fingerprint(env),
            environment=env,
        )

    def compile(self, workload: Workload) -> Program:
        """Export the workload to an ONNX file of its own, already rewritten for this machine.

        Loading is then reading: a session that is made in every visit would rewrite the same graph each time.
        """
        from backends.onnx_export import export_onnx

        inputs = workload.inputs()
        with compile_errors(workload.name):
            model = export_onnx(workload.build(), inputs)
        path = _programs_folder() / f"{secrets.token_hex(8)}.onnx"
        exported = path.with_suffix(".exported.onnx")
        try:
            exported.write_bytes(model)
        except OSError as error:
            raise BackendError(
                f"cannot write the exported model to {path.parent}: {error.strerror}", hint="free space there"
            ) from error
        try:
            with compile_errors(workload.name):
                _session(exported, self.settings, rewritten=path)
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
            return _OrtRunner(_session(self._path, self._settings), self._workload.inputs())

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


class _OrtRunner(Runner):
    """A session whose inputs and outputs stay where they are from run to run."""

    def __init__(self, session: onnxruntime.InferenceSession, inputs: tuple[Array, ...]) -> None:
        import onnxruntime

        binding = session.io_binding()
        values = []
        for info, array in zip(session.get_inputs(), inputs, strict=True):
            values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(info.name, values[-1])
        self._outputs = []
        for info in session.get_outputs():
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(info.shape, _DTYPES[info.type])
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


def _session(
    path: Path, settings: dict[str, SettingValue], *, rewritten: Path | None = None
) -> onnxruntime.InferenceSession:
    """A session on the CPU provider and no other, one operator after the other.

    Args:
        path: a model; one that was rewritten already is taken as it is.
        settings: the backend's.
        rewritten: rewrite the graph as far as the settings say, and leave it in this file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(settings["threads"])
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    level = _LEVELS[str(settings["graph_optimization"])] if rewritten is not None else _LEVELS["disable"]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if rewritten is not None:
        options.optimized_model_filepath = str(rewritten)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if settings["spinning"] else "0")
    options.log_severity_level = _QUIET
    return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])


def _programs_folder() -> Path:
    """This process's private folder for exported models, made at its first use and gone when it ends."""
    return _make_programs_folder(os.getpid())


@cache
def _make_programs_folder(pid: int) -> Path:
    """``pid`` is the cache's key: a forked child must not write to, or remove, its parent's folder."""
    parent = platformdirs.user_cache_path("latency-db") / "programs"
    folder = parent / f"{pid}-{secrets.token_hex(6)}"
    try:
        folder.mkdir(parents=True, mode=0o700)
        _sweep(parent)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except OSError as error:
        raise BackendError(
            f"cannot make a folder for exported models in {parent}: {error.strerror}",
            hint="make it writable, or point XDG_CACHE_HOME at a folder that is",
        ) from error
    atexit.register(_remove_folder, folder, lock, pid)
    return folder


def _remove_folder(folder: Path, lock: FileLock, pid: int) -> None:
    if os.getpid() == pid:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed processes left behind.

    Whether a folder's owner lives is asked of its lock, not of its pid: another container that shares this home has
    pids of its own. A folder younger than a minute may be about to take its lock.
    """
    for folder in parent.iterdir():
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            with FileLock(folder / "lock").acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue  # In use, or another process is sweeping it at this moment.
