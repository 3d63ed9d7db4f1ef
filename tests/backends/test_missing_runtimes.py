"""Whatever way a runtime is missing: one line with the reason and the command, and nobody else's numbers.

One process for each way, in which every runtime is missing in that way at once, and every command is given for every
backend.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import registry

ROOT = Path(__file__).resolve().parents[2]

BACKENDS = {
    "ort": ("onnxruntime", "pip install 'latency-db[ort]'"),
    "ort-cuda": ("onnxruntime", "pip install onnxruntime-gpu"),
    "ort-tensorrt": ("onnxruntime", "pip install onnxruntime-gpu"),
    "openvino": ("openvino", "pip install 'latency-db[openvino]'"),
    "torch": ("torch", "pip install torch"),
    "trt": ("tensorrt_rtx", "pip install 'latency-db[trt-rtx]'"),
    # Two from elsewhere: one whose runtime is missing, one that fails to be imported itself.
    "stub": ("stub_runtime", "pip install stub-runtime"),
    "broken": (None, "pip install stub-plugins"),
    "rude": (None, "pip install stub-plugins"),
}
"""By backend, the module that its reason names, and the command."""
NEED_MORE = ("ort", "openvino", "trt")
"""Backends that need the ONNX library, and torch, beside their runtime."""
RUNTIMES = ("onnxruntime", "openvino", "torch", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "stub_runtime")
HAS = "".join(
    f"class {name}: ...\n"
    # The last is what scipy looks for in any torch that it finds loaded.
    for name in ("InferenceSession", "Core", "nn", "Builder", "OnnxParser", "Engine", "Tensor")
)
WAYS = {
    "absent": (None, "is not installed"),
    "of another version": (f"{HAS}__version__ = '0.1.0'\n", "0.1.0 is not"),
    "with an ImportError": ("raise ImportError('libsome.so.1: cannot open\\nat length')", "libsome.so.1: cannot open"),
    "with an OSError": ("raise OSError('libsome.so.1: file too short')", "libsome.so.1: file too short"),
}
"""By the way a runtime is missing, what its module says, and words of the reason."""

PLUGINS = """
from backends.protocol import Backend
from backends.runtimes import Runtime
from backends.simple import SimpleBackend

class Stub(SimpleBackend):
    name = "stub"
    runtime = Runtime(
        module="stub_runtime", has="Engine", oldest=(1, 0), before=2, install="pip install stub-runtime"
    )
    def load(self, workload): ...

class Rude(Stub):
    name = "rude"
    @classmethod
    def availability(cls):
        raise ZeroDivisionError("it fell over")
"""

PROGRAM = """
import importlib.abc, json, sys
from click.testing import CliRunner

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent, names, db = json.loads(sys.argv[1])
sys.meta_path.insert(0, Absent())
from latency_db.cli import main

def said(*arguments):
    result = CliRunner().invoke(main, ["--db", db, *arguments])
    error = result.exception
    fell = None if error is None or isinstance(error, SystemExit) else repr(error)
    return {"code": result.exit_code, "out": result.stdout, "err": result.stderr, "fell": fell}

small = ["--image-size", "64x64", "--space-setting", "layers=3", "--space-setting", "chis=[4]", "--time-budget", "1s"]
found = {"backends": said("backends")}
for name in names:
    found[f"doctor {name}"] = said("doctor", "--backend", name, "--seconds", "0.1")
    found[f"profile {name}"] = said("profile", "--backend", name, *small)
found["targets"] = said("targets", "--json")
print(json.dumps(found))
"""

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def commands(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[tuple[str, ...], str | None, tuple[str, ...]], Found]:
    """All that the commands say of backends where some modules are not what they should be; asked once."""
    known: dict[tuple[object, ...], Found] = {}

    def ask(modules: tuple[str, ...], text: str | None, backends: tuple[str, ...]) -> Found:
        if (modules, text) not in known:
            known[modules, text] = _ask(tmp_path_factory.mktemp("modules"), modules, text, backends)
        return known[modules, text]

    return ask


def _ask(folder: Path, modules: tuple[str, ...], text: str | None, backends: tuple[str, ...]) -> Found:
    for module in modules if text is not None else ():
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text(text or "")
    info = folder / "stub_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stub-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.GROUP}]\nstub = stub_plugins:Stub\nrude = stub_plugins:Rude\nbroken = broken_plugin:Broken\n"
    )
    (folder / "stub_plugins.py").write_text(PLUGINS)
    (folder / "broken_plugin.py").write_text("raise OSError('libplugin.so: file too short')")
    asked = json.dumps([modules if text is None else [], backends, str(folder / "some.db")])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, asked], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: Found = json.loads(done.stdout)
    return found


def check(found: Found, backend: str, words: str, command: str) -> None:
    """Three commands, each with one line that has the reason and the command, and no latency of anyone."""
    listed = found["backends"]
    (row,) = (line for line in listed["out"].splitlines() if line.split()[0] == backend)
    looked, profiled = found[f"doctor {backend}"], found[f"profile {backend}"]
    (seen,) = (line for line in looked["out"].splitlines() if line.startswith(f"backend    {backend}: "))
    assert " no: " in row and ": not here: " in seen
    (problem,), (refusal,) = looked["err"].splitlines(), profiled["err"].splitlines()
    for line in (row, seen, problem, refusal):
        assert words in line, line
        assert command in line.replace(" --force-reinstall", ""), line
        assert "at length" not in line and len(line) < 400
    assert problem.startswith("Error: ") and refusal.startswith("Error: ") and backend in refusal
    assert (listed["code"], looked["code"], profiled["code"]) == (0, 1, 1)
    assert profiled["out"] == "" and json.loads(found["targets"]["out"]) == []
    assert [one["fell"] for one in (listed, looked, profiled)] == [None] * 3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_missing_runtime(commands: Callable[..., Found], way: str, backend: str) -> None:
    text, words = WAYS[way]
    module, command = BACKENDS[backend]
    if module is None:
        words = {"broken": "libplugin.so: file too short", "rude": "it fell over"}[backend]
    found = commands(RUNTIMES, text, tuple(BACKENDS))
    check(found, backend, words, command)
    if module is not None:
        assert module in found[f"profile {backend}"]["err"]


@pytest.mark.parametrize("backend", NEED_MORE)
@pytest.mark.parametrize("module", ["onnx", "torch"])
def test_what_a_runtime_needs_beside_itself(commands: Callable[..., Found], backend: str, module: str) -> None:
    runtime, command = BACKENDS[backend]
    if runtime is None or importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    text, words = WAYS["with an OSError"]
    found = commands((module,), text, NEED_MORE)
    check(
        found,
        backend,
        f"{module} cannot be imported: OSError: {words}",
        command if module == "onnx" else "pip install torch",
    )


def test_every_built_in_backend_is_looked_at() -> None:
    built_in = {name for name in registry.names() if registry.get(name).__module__.startswith("backends.")}
    assert built_in <= set(BACKENDS)
