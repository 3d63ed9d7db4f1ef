"""The examples as a stranger would use them: installed from their folders, found by entry point, used by name."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.alone

SPACE, BACKEND, TEMPLATE = "plain-conv", "torch-fp64", "onnx-reference"
CLI = [sys.executable, "-c", "from latency_db.cli import main; main()"]


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put on the path, with all distributions in it."""
    # By metadata: to look pip up as a module makes setuptools withdraw its distutils from this process, and with that
    # torch.compile fails in whatever test comes next.
    for tool in ("pip", "setuptools"):
        if not any(importlib.metadata.distributions(name=tool)):
            pytest.skip(f"{tool} is not here to install the examples with")
    folder = tmp_path_factory.mktemp("plugins")
    sources = []
    for name in ("plugin_backend", "plugin_space", "plugin_template"):
        source = root / "examples" / name
        if not source.is_dir():
            pytest.skip(f"examples/{name} is not there")
        # Building leaves files behind, which must not lie in the checkout.
        copied = tmp_path_factory.mktemp("sources") / name
        shutil.copytree(source, copied, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
        sources.append(str(copied))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def run(installed: Path, *arguments: str) -> Any:
    """The document that a command prints, in a process that has the plugins on its path."""
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), root])}
    environment.pop("LATENCY_DB_URL", None)
    done = subprocess.run(
        [*CLI, *arguments], capture_output=True, text=True, env=environment, cwd=installed, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_are_listed_beside_the_built_in_ones(installed: Path) -> None:
    backends = {row["backend"]: row for row in run(installed, "backends", "--json")}
    assert {BACKEND, TEMPLATE, "ort", "torch"} <= set(backends)
    assert backends[BACKEND]["available"] is True and backends[TEMPLATE]["available"] is True
    found = {row["space"]: row for row in run(installed, "spaces", "--json")}
    assert {SPACE, "fasterseg"} <= set(found)
    assert found[SPACE]["builtin"] == ["heavy", "light"]


def test_none_is_there_without_its_installation() -> None:
    done = subprocess.run([*CLI, "spaces", "--json"], capture_output=True, text=True, timeout=60, check=True)
    listed = {row["space"] for row in json.loads(done.stdout)}
    if SPACE in listed:
        pytest.skip("the example is installed in this environment")
    assert "fasterseg" in listed


@pytest.mark.slow
def test_profile_and_validate_with_a_backend_and_a_space(installed: Path, tmp_path: Path) -> None:
    what = ("--backend", BACKEND, "--space", SPACE, "--image-size", "64x64", "--rel-ci", "0.5")
    what = (*what, "--space-setting", "depth=3", "--space-setting", "widths=[8,16]", "--json")
    database = ("--db", str(tmp_path / "some.db"))
    profiled = run(installed, *database, "profile", *what, "--calibration-networks", "4", "--time-budget", "3m")
    assert profiled["space"] == SPACE and profiled["target"]["backend"] == BACKEND
    assert (profiled["target"]["runtime"], profiled["target"]["precision"]) == ("torch", "fp64")
    assert profiled["measured"] == profiled["specs"] == 2 + 2 * 4 and profiled["failed"] == {}

    rows = run(installed, *database, "query", "--backend", BACKEND, "--json")
    assert len(rows) == profiled["specs"]
    assert {row["op"] for row in rows} == {"conv3x3", "pointwise"}

    for more in ((), ("--stored",)):
        budget = ("--networks", "4", "--calibration-networks", "4", "--time-budget", "10s")
        found = run(installed, *database, "validate", *what, *budget, *more)
        assert (found["networks"], found["dropped"]) == (4, 0)
        assert -1 <= found["pearson"] <= 1 and found["mape"] >= 0


def test_the_template_measures_too(installed: Path, tmp_path: Path) -> None:
    # A convolution in plain numpy takes its time: one operator is enough.
    what = ("--backend", TEMPLATE, "--space", SPACE, "--image-size", "64x64", "--rel-ci", "0.5")
    what = (*what, "--only", "op=pointwise", "--space-setting", "widths=[8]", "--time-budget", "5s")
    found = run(installed, "--db", str(tmp_path / "some.db"), "profile", *what, "--json")
    assert found["failed"] == {} and found["measured"] == found["specs"] == 1
    assert (found["target"]["backend"], found["target"]["precision"]) == (TEMPLATE, "fp32")


def test_the_template_is_as_short_as_it_says_and_the_page_shows_all_of_it(root: Path) -> None:
    template = (root / "examples" / "plugin_template" / "latency_db_template.py").read_text(encoding="utf-8")
    assert len(template.splitlines()) <= 30
    blocks = re.findall(r"^```python\n(.*?)^```", (root / "docs" / "backends.md").read_text("utf-8"), re.M | re.S)
    assert template in blocks, "docs/backends.md is to show examples/plugin_template/latency_db_template.py as it is"


@pytest.mark.parametrize("example", ["plugin_backend", "plugin_space", "plugin_template"])
def test_it_keeps_its_contract(installed: Path, root: Path, example: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(root)])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(root / "examples" / example / "tests")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=root,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr
