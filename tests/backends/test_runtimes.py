"""A runtime that is absent, broken or of another version is one line that names the command that mends it."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

from backends.errors import RuntimeMissingError
from backends.runtimes import Runtime, together

SOME = Runtime(module="some_runtime", has="Engine", oldest=(1, 20), before=3, install="pip install some-runtime")
WHOLE = "class Engine: ...\n__version__ = {version!r}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of this process."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, SOME.module, raising=False)
    return tmp_path


def write(folder: Path, module: str, text: str) -> None:
    package = folder / module
    package.mkdir()
    package.joinpath("__init__.py").write_text(text)


@pytest.mark.parametrize("version", ["1.20", "1.32.0", "2.9.1-4711-abcdef-releases/2/9", "2.1.0.dev20260101"])
def test_versions_that_work(folder: Path, version: str) -> None:
    write(folder, SOME.module, WHOLE.format(version=version))
    found = SOME.availability()
    assert found.available and found.runtime == "some_runtime"
    assert found.runtime_version in ("1.20", "1.32.0", "2.9.1", "2.1.0")


@pytest.mark.parametrize("version", ["0.9", "1.19.2", "3.0.0", "2021.4.0"])
def test_versions_that_do_not(folder: Path, version: str) -> None:
    write(folder, SOME.module, WHOLE.format(version=version))
    with pytest.raises(RuntimeMissingError, match=f"{version} is not a version from 1.20 on and before 3") as caught:
        SOME.load()
    assert caught.value.hint == SOME.install


def test_an_absent_module_is_not_called_broken(folder: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"^some_runtime is not installed \(pip install some-runtime\)$"):
        SOME.load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("raise OSError('libsome.so: file too short')", "file too short"),
        ("raise ImportError('first\\nsecond')", "first"),
        ("from numpy import no_such_thing", "no_such_thing"),
        ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API"),
        ("def", "invalid syntax"),
        ("", "only in part"),
        ("class Engine: ...", "only in part"),
        ("class Engine: ...\n__version__ = 'unknown'", "only in part"),
    ],
)
def test_a_broken_module_is_to_be_installed_again(folder: Path, text: str, words: str) -> None:
    write(folder, SOME.module, text)
    found = SOME.availability()
    assert not found.available and words in str(found.reason)
    assert "second" not in str(found.reason)
    assert found.install == "pip install --force-reinstall some-runtime"


def test_what_a_runtime_is_to_do_without_it_does_not_find(folder: Path) -> None:
    looks = "try:\n    import chatty\nexcept ImportError:\n    chatty = None\n"
    write(folder, SOME.module, looks + WHOLE.format(version="2.0"))
    write(folder, "chatty", "")
    assert dataclasses.replace(SOME, without=("chatty",)).load().chatty is None
    assert importlib.import_module("chatty").__name__ == "chatty", "hidden from nobody else"
    del sys.modules["chatty"]


def test_a_runtime_that_needs_another_says_what_that_lacks(folder: Path) -> None:
    write(folder, SOME.module, WHOLE.format(version="1.20"))
    other = Runtime(module="other_runtime", has="Engine", oldest=(1, 0), before=2, install="pip install other")
    found = together(SOME, other)
    assert (found.available, found.runtime, found.reason) == (False, "some_runtime", "other_runtime is not installed")
    assert found.install == "pip install other"
    assert together(other, SOME).reason == "other_runtime is not installed"
    assert together(SOME).available and together(SOME, SOME).available
