"""The private folder of a process: its own, gone with it, swept when it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from backends import program_files
from backends.errors import BackendError

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import os, sys
from backends import program_files
path = program_files.new_path(".onnx")
program_files.write(path, b"a model")
print(path, flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own for this process and its children."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program_files._make_folder.cache_clear()
    yield tmp_path / "latency-db" / "programs"
    program_files._make_folder.cache_clear()


def run_once(end: str) -> Path:
    """The path of what a process of its own wrote before it came to its end."""
    done = subprocess.run([sys.executable, "-c", RUN, end], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return Path(done.stdout.strip())


def test_paths_are_new_and_in_one_folder(cache_home: Path) -> None:
    first, second = program_files.new_path(".onnx"), program_files.new_folder()
    assert first.parent == second.parent and first.suffix == ".onnx"
    assert second.is_dir() and not first.exists()


def test_the_folder_is_private_and_goes_with_its_process(cache_home: Path) -> None:
    path = run_once("exit")
    assert path.parent.parent == cache_home
    assert not path.parent.exists()


def test_what_a_killed_process_leaves_is_swept(cache_home: Path) -> None:
    left = run_once("kill")
    assert left.read_bytes() == b"a model"
    assert left.parent.stat().st_mode & 0o077 == 0
    _make_old(left.parent)
    program_files.folder()
    assert not left.parent.exists()


def test_folders_that_are_young_or_in_use_are_not_swept(cache_home: Path) -> None:
    young, used = cache_home / "1-young", cache_home / "2-used"
    for folder in (young, used):
        folder.mkdir(parents=True)
    with FileLock(used / "lock"):
        _make_old(used)
        program_files.folder()
        assert young.exists()
        assert used.exists()


def test_an_unusable_cache_folder_is_one_clear_line(cache_home: Path) -> None:
    cache_home.parent.parent.joinpath("latency-db").write_text("in the way")
    with pytest.raises(BackendError, match="latency-db") as caught:
        program_files.folder()
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_what_cannot_be_written_is_one_clear_line(cache_home: Path) -> None:
    with pytest.raises(BackendError, match=r"cannot write the exported model to .*free space there"):
        program_files.write(program_files.new_path("") / "missing", b"a model")


def _make_old(folder: Path) -> None:
    then = time.time() - 3600
    os.utime(folder, (then, then))
