"""The door through which backends come in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import registry
from backends.errors import BackendError, BackendNotFoundError, InvalidSettingError, RuntimeMissingError

Install = Callable[..., None]

STUB = """
from backends.protocol import Availability, Backend

class Base(Backend):
    @classmethod
    def availability(cls):
        return Availability(available=False, runtime="stub", reason="no stub device", install="buy one")
    def target(self, device=None): ...
    clock = None
    def compile(self, workload): ...

class Absent(Base):
    name = "absent"

class Misnamed(Base):
    name = "something-else"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts distributions with entry points, and modules, onto the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(distribution: str, entry_points: str, **modules: str) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry_points}\n")
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, name, raising=False)

    return add


def test_built_ins_take_the_same_door() -> None:
    assert {"openvino", "ort", "ort-cuda", "ort-tensorrt", "torch", "trt"} <= set(registry.names())
    assert registry.names() == sorted(registry.names())


def test_listing_imports_no_backend() -> None:
    code = "import sys; from backends import registry; registry.names(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "onnx", "onnxruntime", "openvino"}
    assert not loaded & {"backends.openvino", "backends.ort", "backends.pytorch"}


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BackendNotFoundError, match=r"'tensorflow'.*ort.*torch") as caught:
        registry.get("tensorflow")
    assert "\n" not in str(caught.value)


def test_settings_reach_the_backend() -> None:
    assert registry.create("ort", threads=2).settings["threads"] == 2
    with pytest.raises(InvalidSettingError):
        registry.create("ort", threads=0)


def test_a_plugin_is_found(install: Install) -> None:
    install("stub-plugin", "absent = stub_plugin:Absent", stub_plugin=STUB)
    assert "absent" in registry.names()
    assert registry.get("absent").name == "absent"


def test_a_backend_whose_runtime_is_absent_says_how_to_get_it(install: Install) -> None:
    install("stub-plugin", "absent = stub_plugin:Absent", stub_plugin=STUB)
    with pytest.raises(RuntimeMissingError, match="no stub device") as caught:
        registry.create("absent")
    assert caught.value.hint == "buy one"


@pytest.mark.parametrize("broken", ["import no_such_module_at_all", "raise OSError('libstub.so: cannot open')", "def"])
def test_a_plugin_that_cannot_be_imported_names_its_distribution(install: Install, broken: str) -> None:
    install("broken-plugin", "broken = broken_plugin:Broken", broken_plugin=broken)
    with pytest.raises(RuntimeMissingError, match="broken-plugin") as caught:
        registry.get("broken")
    assert "\n" not in str(caught.value)


def test_a_broken_plugin_does_not_hide_the_others(install: Install) -> None:
    install("broken-plugin", "broken = broken_plugin:Broken", broken_plugin="import no_such_module_at_all")
    found = registry.availability()
    assert not found["broken"].available
    assert "no_such_module_at_all" in (found["broken"].reason or "")
    assert found["ort"].available
    assert found["ort"].runtime == "onnxruntime"


@pytest.mark.parametrize("entry", ["odd = stub_plugin:Misnamed", "odd = stub_plugin:STUB", "odd = pathlib:Path"])
def test_what_is_no_backend_of_that_name_is_refused(install: Install, entry: str) -> None:
    install("stub-plugin", entry, stub_plugin=STUB + "\nSTUB = 1\n")
    with pytest.raises(BackendError, match="stub-plugin"):
        registry.get("odd")


def test_two_claims_to_one_name_are_refused(install: Install) -> None:
    install("stub-plugin", "absent = stub_plugin:Absent", stub_plugin=STUB)
    install("rival-plugin", "absent = rival_plugin:Absent", rival_plugin=STUB)
    assert registry.names().count("absent") == 1
    with pytest.raises(BackendError, match=r"rival-plugin.*stub-plugin"):
        registry.get("absent")
