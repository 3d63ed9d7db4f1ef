"""What a search notes is read back exactly; a kill costs at most the line that it cut."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latency_db.errors import InputError
from searcher.history import (
    EpochRecord,
    SearchResult,
    append_epoch,
    keep_until,
    parse_branches,
    read_epochs,
    read_result,
    write_result,
)
from tests.searcher.search_runs import epoch_record, search_result, write_epochs

OneLine = Callable[[BaseException], str]


@pytest.fixture
def one_line() -> OneLine:
    """What an error says, once it has been found to be one line of bearable length."""

    def check(error: BaseException) -> str:
        message = str(error)
        assert "\n" not in message
        assert 10 < len(message) < 400
        return message

    return check


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_epochs(tmp_path, 4, every=2)
    return tmp_path / "epochs.jsonl"


def test_epochs_are_read_back_exactly(path: Path) -> None:
    assert read_epochs(path) == [epoch_record(epoch, validated=epoch % 2 == 0) for epoch in range(4)]


def test_no_file_is_no_epoch(tmp_path: Path) -> None:
    assert read_epochs(tmp_path / "epochs.jsonl") == []
    keep_until(tmp_path / "epochs.jsonl", 0)
    assert not list(tmp_path.iterdir())


def test_the_file_is_the_one_that_is_documented(path: Path) -> None:
    epoch = json.loads(path.read_text().splitlines()[2])
    assert epoch["phase"] == "search"
    assert epoch["lambda"] == 0.01
    assert set(epoch["derived_latency_ms"]) == {"8_16", "8_32", "16_32"}
    assert set(epoch["miou"]["teacher"]) == {"8_16", "8_32", "16_32"}
    assert set(epoch["widths"]) == {"4", "6", "8", "10", "12"}
    assert json.loads(path.read_text().splitlines()[1])["miou"] is None


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_cut_last_line_is_ignored_then_replaced(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert [record.epoch for record in read_epochs(path)] == [0, 1, 2]
    append_epoch(path, epoch_record(3))
    assert [record.epoch for record in read_epochs(path)] == [0, 1, 2, 3]


def test_a_file_of_half_a_line_is_no_epoch(tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    path.write_text('{"epoch": 0')
    assert read_epochs(path) == []
    append_epoch(path, epoch_record(0))
    assert len(read_epochs(path)) == 1


def test_keeping_drops_later_epochs_and_nothing_else(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    # What a later version notes besides is kept as it is.
    lines[0] = lines[0].replace(b"{", b'{"later": 1, ', 1)
    path.write_bytes(b"".join(lines) + b'{"epoch": 4')
    keep_until(path, 2)
    assert path.read_bytes() == b"".join(lines[:2])
    keep_until(path, 2)
    assert path.read_bytes() == b"".join(lines[:2])
    assert [file.name for file in path.parent.iterdir()] == ["epochs.jsonl"]


def broken_epochs() -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "role": ({"latency_ms": {"student": 1.0}}, "latency_ms: no 'teacher'"),
        "nan": ({"weight_loss": math.nan}, "weight_loss is nan"),
        "huge": ({"weight_loss": 10**400}, "weight_loss is 1000"),
        "bool": ({"seconds": True}, "seconds is True"),
        "text": ({"epoch": "0"}, "epoch is '0'"),
        "negative": ({"epoch": -1}, "below 0"),
        "phase": ({"phase": "rest"}, "pretrain, search"),
        "branches": ({"derived_latency_ms": {"8-16": 1.0}}, "'8-16' names no branches"),
        "width": ({"widths": {"wide": 1.0}}, "'wide' is not a whole number"),
        "list": ({"operators": []}, "operators is not a JSON object"),
        "order": ({"epoch": 0}, "epoch 0 comes after epoch 0"),
    }


@pytest.mark.parametrize("name", broken_epochs())
def test_a_broken_line_is_named(path: Path, name: str, one_line: OneLine) -> None:
    changes, complaint = broken_epochs()[name]
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | changes)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as caught:
        read_epochs(path)
    assert "epochs.jsonl, line 2" in one_line(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_named(path: Path, line: bytes, one_line: OneLine) -> None:
    path.write_bytes(line + b"\n" + path.read_bytes())
    with pytest.raises(InputError) as caught:
        read_epochs(path)
    assert "line 1" in one_line(caught.value)


def test_a_diverged_epoch_is_refused_and_nothing_is_written(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"epoch 4 .* diverged"):
        append_epoch(path, dataclasses.replace(epoch_record(4), weight_loss=math.inf))
    assert path.read_bytes() == before


def test_a_folder_in_the_way_is_one_line(tmp_path: Path, one_line: OneLine) -> None:
    with pytest.raises(InputError) as caught:
        append_epoch(tmp_path, epoch_record(0))
    assert "cannot write" in one_line(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        read_epochs(tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        write_result(tmp_path / "missing" / "result.json", search_result())


def test_the_mean_is_over_the_branch_sets() -> None:
    record = epoch_record(0)
    assert record.miou is not None
    assert record.mean_miou("teacher") == pytest.approx(sum(record.miou["teacher"].values()) / 3)
    assert epoch_record(0, validated=False).mean_miou("student") is None


@pytest.mark.parametrize(
    "changes", [{}, {"target_ms": None, "weights": None, "weights_rule": "none"}, {"candidates": ()}], ids=str
)
def test_a_result_is_read_back_exactly(tmp_path: Path, changes: dict[str, object]) -> None:
    result = search_result(**changes)
    path = tmp_path / "result.json"
    write_result(path, result)
    assert read_result(path) == result
    write_result(path, result)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": "other"}, "no result of a search"),
        ({"version": 2}, "reads 1"),
        ({"weights": [1, 2]}, "not three numbers"),
        ({"weights": [1, 2, "3"]}, r"weights\[2\]"),
        ({"image_size": "big"}, "HEIGHTxWIDTH"),
        ({"student": {}}, "student: no 'branches'"),
        ({"candidates": [{}]}, r"candidates\[0\]: no 'role'"),
        ({"dataset": {"name": "x", "classes": [1]}}, "not a list of texts"),
        ({"weights_rule": "guess"}, "paper, balanced"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_result_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str, one_line: OneLine) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(search_result().to_json() | changes))
    with pytest.raises(InputError, match=complaint) as caught:
        read_result(path)
    assert "result.json" in one_line(caught.value)


def test_a_result_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not finite"):
        write_result(tmp_path / "result.json", search_result(seconds=math.nan))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "8_", "a", "8_-16", "٨"])
def test_other_names_are_no_branches(name: str) -> None:
    with pytest.raises(ValueError, match="names no branches"):
        parse_branches(name)


def test_documents_are_plain_json() -> None:
    for document, read in (
        (epoch_record(3).to_json(), EpochRecord.from_json),
        (search_result().to_json(), SearchResult.from_json),
    ):
        again = json.loads(json.dumps(document))
        assert read(again).to_json() == again == document
