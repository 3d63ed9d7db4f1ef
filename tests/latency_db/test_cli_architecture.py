"""Wherever an architecture is expected, its built-in name or its JSON file will do; what is neither is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latency_db.cli.architecture import read_architecture
from latency_db.errors import InputError
from trainer.architecture import Architecture
from trainer.builtin import BUILTIN, FASTERSEG_STUDENT

OTHER = BUILTIN["fasterseg-student-32-8"]


def read(named: str | Path) -> Architecture:
    return read_architecture(str(named), BUILTIN, Architecture.from_json)


def test_a_name_or_a_file(tmp_path: Path) -> None:
    assert read("fasterseg-student") is FASTERSEG_STUDENT
    path = tmp_path / "some.json"
    path.write_text(json.dumps(OTHER.to_json()), encoding="utf-8")
    assert read(path) == OTHER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON: it is nested too deeply"),
        ("[]", "an architecture is a JSON object"),
        (json.dumps(OTHER.to_json() | {"head_chi": -1}), "some.json: .*head_chi"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read(path)


def test_neither(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file nonesuch.*there are: fasterseg-student, fasterseg-student-32-8"):
        read("nonesuch")
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path)
    with pytest.raises(InputError, match="has no name"):
        read("")
