"""What an import may bring along: no optional runtime, and no torch where only the database is read."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("backends", "latency_db", "searcher", "trainer")

OPTIONAL = (
    "av",
    "cuda",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "procrastinate",
    "psycopg",
    "pyarrow",
    "pycuda",
    "pynvml",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
)
LIGHT = (
    "backends",
    "backends.protocol",
    "backends.registry",
    "latency_db",
    "latency_db.cli",
    "latency_db.keys",
    "latency_db.schema",
    "latency_db.session",
    "latency_db.space",
    "latency_db.store",
    "latency_db.table",
    "searcher.cli",
    "trainer.cli",
)


def modules() -> list[str]:
    """Every module of the four packages, by file, so that a folder without ``__init__.py`` does not hide any."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def loaded_by(*names: str) -> set[str]:
    """The top-level modules in ``sys.modules`` of a fresh process after importing ``names``."""
    code = "import importlib, json, sys; [importlib.import_module(n) for n in sys.argv[1:]]; "
    code += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", LIGHT)
def test_importing_loads_neither_torch_nor_an_optional_runtime(name: str) -> None:
    assert not loaded_by(name) & {"torch", *OPTIONAL}


def test_importing_everything_loads_no_optional_runtime() -> None:
    """Each runtime is imported where it is first used, so modules that need one import without it, too."""
    # torch's own imports do not count: it takes CUDA's bindings where it finds them, and onnx only when it exports.
    loaded = loaded_by(*(name for name in modules() if not name.endswith("__main__")))
    assert not (loaded - loaded_by("torch")) & set(OPTIONAL)


@pytest.mark.parametrize("name", [name for name in modules() if not name.endswith("__main__")])
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name)


def test_the_migrations_folder_does_not_shadow_alembic() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()
    import alembic

    assert alembic.__version__
    assert Path(alembic.__file__).parent != ROOT / "alembic"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
