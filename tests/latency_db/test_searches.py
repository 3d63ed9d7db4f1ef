"""Searches in the database, on every kind of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends.protocol import Target
from latency_db.errors import InputError, NotFoundError, StorageError
from latency_db.keys import ImageSize
from latency_db.store import Store

TARGET = Target(
    device="cpu",
    device_name="A processor",
    backend="ort",
    runtime="onnxruntime",
    runtime_version="1.2",
    precision="fp32",
    settings={"threads": 1},
    fingerprint="f" * 16,
    environment={},
)
BEGAN = datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)
SEARCH: dict[str, Any] = {
    "folder": "/runs/one",
    "space": "fasterseg",
    "space_settings": {"layers": 4},
    "device": "1080ti",
    "target_id": None,
    "target_line": "1080ti: a shipped model",
    "image": ImageSize(1024, 2048),
    "batch": 1,
    "config": {"run": {"seed": 7}},
    "seed": 2**63 - 1,
    "started_at": BEGAN,
}


def derive(store: Store, search_id: int, role: str = "student", **changes: Any) -> int:
    values = {
        "architecture": {"cells": [role]},
        "branches": (16, 32),
        "how": "argmax",
        "latency_ms": 8.5,
        "miou": 0.5,
        **changes,
    }
    return store.add_derived(search_id, role=role, **values)


def test_a_search_comes_back_as_it_was(store: Store) -> None:
    search_id = store.start_search(**SEARCH)
    (row,) = store.searches()
    assert {name: getattr(row, name) for name in SEARCH} == SEARCH
    assert (row.id, row.status, row.reason, row.finished_at, row.epochs) == (search_id, "running", None, None, 0)


def test_a_search_of_a_target_refers_to_it(store: Store) -> None:
    target_id = store.ensure_target(TARGET)
    store.start_search(**{**SEARCH, "target_id": target_id})
    assert store.searches()[0].target_id == target_id
    with pytest.raises(StorageError):
        store.start_search(**{**SEARCH, "folder": "/runs/two", "target_id": 99})


def test_a_further_sitting_is_the_same_search(store: Store) -> None:
    search_id = store.start_search(**SEARCH)
    store.note_epochs(search_id, 3)
    store.finish_search(search_id, "interrupted", "Ctrl-C", 4)
    (stopped,) = store.searches()
    assert (stopped.status, stopped.reason, stopped.epochs) == ("interrupted", "Ctrl-C", 4)
    assert stopped.finished_at is not None and abs(stopped.finished_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.start_search(**{**SEARCH, "config": {"run": {"threads": 2}}}) == search_id
    (again,) = store.searches()
    assert again == replace(stopped, status="running", reason=None, finished_at=None, config={"run": {"threads": 2}})
    store.finish_search(search_id, "failed", "the disk is full", 4)
    store.resume_search(search_id)
    assert store.searches() == [again]


def test_another_folder_or_moment_is_another_search(store: Store) -> None:
    ids = [
        store.start_search(**SEARCH),
        store.start_search(**{**SEARCH, "folder": "/runs/two"}),
        store.start_search(**{**SEARCH, "started_at": BEGAN + timedelta(microseconds=1)}),
        store.start_search(**{**SEARCH, "started_at": None}),
    ]
    assert [row.id for row in store.searches()] == ids
    assert len(set(ids)) == 4


def test_a_search_ends_with_one_teacher_and_one_student(store: Store) -> None:
    search_id = store.start_search(**SEARCH)
    first = derive(store, search_id)
    derive(store, search_id, "teacher", latency_ms=20.0, miou=None)
    student, teacher = store.derived(search_id)
    assert (student.id, student.role, student.branches, student.how) == (first, "student", (16, 32), "argmax")
    assert (student.latency_ms, student.miou, teacher.latency_ms, teacher.miou) == (8.5, 0.5, 20.0, None)
    network = store.networks([student.network_id])[student.network_id]
    assert (network.architecture, network.space_settings) == ({"cells": ["student"]}, {"layers": 4})
    assert (network.image, network.batch) == (SEARCH["image"], 1)
    derive(store, search_id, how="band", architecture={"cells": ["other"]})
    assert [(row.role, row.how) for row in store.derived(search_id)] == [("teacher", "argmax"), ("student", "band")]


def test_searches_that_derive_the_same_network_share_it(store: Store) -> None:
    one, two = store.start_search(**SEARCH), store.start_search(**{**SEARCH, "folder": "/runs/two"})
    derive(store, one)
    derive(store, two)
    assert {row.search_id for row in store.derived()} == {one, two}
    assert len({row.network_id for row in store.derived()}) == 1


def test_what_is_not_there_is_one_line(store: Store, one_line: Any) -> None:
    for call in (
        lambda: store.resume_search(9),
        lambda: store.note_epochs(9, 1),
        lambda: store.finish_search(9, "completed", None, 1),
        lambda: derive(store, 9),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert one_line(caught.value) == "there is no search 9"
    assert store.derived(9) == []
    with pytest.raises(InputError, match="no 'pupil'"):
        derive(store, store.start_search(**SEARCH), "pupil")
