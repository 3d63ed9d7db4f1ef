"""The worked example is installed as a stranger would, and found, and keeps the contract."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin_backend"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which Python sees the example as installed, in a folder of its own."""
    # By metadata: to look pip up as a module makes setuptools withdraw its distutils from this process, and with that
    # torch.compile fails in whatever test comes next.
    for tool in ("pip", "setuptools"):
        if not any(importlib.metadata.distributions(name=tool)):
            pytest.skip(f"{tool} is not here to install the example with")
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")  # A build leaves files beside what it builds.
    command = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    target = folder / "site"
    subprocess.run([sys.executable, *command, "--target", str(target), str(source)], check=True, timeout=240)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])}


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_is_listed_beside_the_built_ins(environment: dict[str, str]) -> None:
    listed = run(environment, "-c", "from backends import registry; print(*registry.names())").split()
    assert {"ort", "torch", "torch-bf16"} <= set(listed)


@pytest.mark.slow
def test_it_keeps_the_contract(environment: dict[str, str]) -> None:
    assert " passed" in run(environment, "-m", "pytest", "-q", str(EXAMPLE / "tests"))
