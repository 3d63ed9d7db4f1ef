"""Measurements out to files and back in: exact, once, and all or nothing."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.protocol import Target
from backends.samples import Visit
from latency_db import transfer
from latency_db.errors import ImportFormatError, InputError
from latency_db.keys import ImageSize, OpSpec
from latency_db.store import Store

IMAGE = ImageSize(97, 130)
SPECS = [
    OpSpec("conv_x2", 8, 64, 128, 2, IMAGE),
    OpSpec("merge", 8, 96, 64, 1, IMAGE),
    OpSpec("fuse", 8, 128, 128, 1, IMAGE, 2, 2),
]
FORMATS = [
    "csv",
    "json",
    pytest.param(
        "parquet",
        marks=pytest.mark.skipif(
            __import__("importlib.util").util.find_spec("pyarrow") is None, reason="pyarrow is not installed"
        ),
    ),
]


SEEN = {
    "run_queue_wait_ms": 0.1 + 0.2,
    "cgroup_throttled_periods": 3,
    "governor": 'a "name", of χ',
    "gpu_clock_reasons": ("gpu_idle", "hw_slowdown"),
}


def target(threads: int) -> Target:
    return Target(
        device="cpu-test",
        device_name='A "quoted", comma-ridden\nname: χ',
        backend="ort",
        runtime="onnxruntime",
        runtime_version="1.2",
        precision="fp32",
        settings={"threads": threads, "spinning": False, "share": 0.1, "level": "all"},
        fingerprint="f" * 16,
        environment={"cpu_model": "A processor", "memory_gib": 7.7},
    )


def visit(round: int, rng: random.Random) -> Visit:
    # Digits to the last bit: a float that loses one is not the float that was measured.
    return Visit(
        round=round,
        elapsed_ms=tuple(rng.lognormvariate(0, 1) / 3 for _ in range(3)),
        reference_ms=tuple(rng.lognormvariate(0, 1) / 7 for _ in range(4)),
        repeats=3,
        warmup=2,
        flags=("disturbed", "throttled") if round == 1 else (),
        observed=SEEN if round > 0 else None,
    )


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Store]:
    """Two targets, two series, visits, values without samples and a failure."""
    rng = random.Random(4)
    with Store.open(str(tmp_path / "from.db")) as store:
        ids = store.ensure_specs(SPECS)
        for threads in (1, 2):
            target_id = store.ensure_target(target(threads))
            for series in (1, 2):
                run = store.start_run(target_id, "profile", series=series, plan={}, environment={})
                for number in range(3):
                    store.add_visits(run, [(ids[spec], visit(number, rng)) for spec in SPECS[:2]])
                store.add_failure(run, ids[SPECS[2]], 0, 'no kernel, "really"')
                store.finish_run(run, "completed", "confident", 1.5 + 0.1 * series)
            run = store.start_run(target_id, "predict", series=1, plan={}, environment={})
            store.add_values(run, [(ids[SPECS[2]], 0.1 + 0.2)], "predicted")
            store.finish_run(run, "completed", None, None)
        yield store


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What must survive: per target every row, without the numbers that each database gives by itself."""
    return {
        row.target.key: sorted(
            (
                (
                    one.spec,
                    one.series,
                    one.round,
                    one.provenance,
                    one.status,
                    one.reason or "",
                    one.latency_ms,
                    one.visit,
                )
                for one in store.raw_measurements(row.id)
            ),
            key=str,
        )
        for row in store.targets()
    }


def exported(store: Store, path: Path, file_format: str) -> Path:
    found = [row for one in store.targets() for row in transfer.rows(store, one)]
    transfer.write(path, file_format, found)
    return path


@pytest.mark.parametrize("file_format", FORMATS)
def test_out_and_back_in_is_exact(filled: Store, tmp_path: Path, file_format: str) -> None:
    path = exported(filled, tmp_path / f"some.{file_format}", file_format)
    with Store.open(str(tmp_path / "to.db")) as other:
        result = transfer.load(other, path, file_format)
        assert (result.rows, result.added) == (30, 30)
        assert everything(other) == everything(filled)
        for before, after in zip(filled.targets(), other.targets(), strict=True):
            assert after.target == before.target
            assert after.reference_ms == before.reference_ms
        latencies = [
            [(row.spec, row.latency_ms, row.rel_ci, row.visits, row.left_out) for row in store.query()]
            for store in (filled, other)
        ]
        assert latencies[0] == latencies[1]
        assert {row[-1] for row in latencies[1]} == {0, 1}, "what does not count there does not count here"


@pytest.mark.parametrize("file_format", FORMATS)
def test_importing_twice_changes_nothing(filled: Store, tmp_path: Path, file_format: str) -> None:
    path = exported(filled, tmp_path / f"some.{file_format}", file_format)
    before = everything(filled)
    runs = len(filled.runs())
    assert transfer.load(filled, path, file_format).added == 0, "it is all there already"
    assert everything(filled) == before and len(filled.runs()) == runs


def test_what_is_new_is_added_to_what_is_there(filled: Store, tmp_path: Path) -> None:
    path = exported(filled, tmp_path / "some.json", "json")
    document = json.loads(path.read_text(encoding="utf-8"))
    document["measurements"] = document["measurements"][:7]
    part = tmp_path / "part.json"
    part.write_text(json.dumps(document), encoding="utf-8")
    with Store.open(str(tmp_path / "to.db")) as other:
        assert transfer.load(other, part, "json").added == 7
        assert transfer.load(other, path, "json").added == 23
        assert everything(other) == everything(filled)


@pytest.mark.parametrize("name", ["some.csv", "SOME.CSV", "some.json", "some.parquet"])
def test_the_ending_tells_the_format(name: str) -> None:
    assert transfer.guess_format(Path(name)) == name.lower().split(".")[1]


@pytest.mark.parametrize("name", ["some", "some.txt", "some.csv.gz"])
def test_another_ending_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--format"):
        transfer.guess_format(Path(name))


def test_a_file_that_cannot_be_written_is_named(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "some.csv"
    with pytest.raises(InputError, match=f"cannot write {path}"):
        exported(filled, path, "csv")


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, file_format: str) -> None:
    with Store.open(str(tmp_path / "to.db")) as other, pytest.raises(InputError, match="cannot read"):
        transfer.load(other, tmp_path / "missing", file_format)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00nonsense", b"{}", b"[1, 2]", b"a,b\n1,2\n", b"PAR1"])
def test_what_is_no_export_is_refused(tmp_path: Path, file_format: str, content: bytes) -> None:
    path = tmp_path / "some"
    path.write_bytes(content)
    with Store.open(str(tmp_path / "to.db")) as other:
        with pytest.raises(ImportFormatError) as caught:
            transfer.load(other, path, file_format)
        assert other.targets() == []
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.__setitem__(name, value)


DAMAGE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda row: row.pop("op"), "no column 'op'"),
    (put("op", ""), "op is"),
    (put("device", 7), "device is 7"),
    (put("s", -8), "s is -8"),
    (put("s", 0), "must be positive"),
    (put("stride", True), "stride is True"),
    (put("c_in", 1.5), "c_in is 1.5"),
    (put("settings", []), "settings is not an object"),
    (put("provenance", "guessed"), "provenance is 'guessed'"),
    (put("status", "maybe"), "status is 'maybe'"),
    (put("elapsed_ms", [1.0, -1.0, 1.0]), "positive"),
    (put("elapsed_ms", [1.0]), "reference times"),
    (put("elapsed_ms", "[1.0"), "."),
    (put("elapsed_ms", [1.0, float("nan"), 1.0]), "not a finite number"),
    (lambda row: row.update(elapsed_ms=[], latency_ms=None), "neither samples"),
    (lambda row: row.update(elapsed_ms=[], latency_ms=0.0), "neither samples"),
    (lambda row: row.update(elapsed_ms=[], latency_ms=-1.0), "neither samples"),
    (lambda row: row.update(elapsed_ms=[], latency_ms=float("nan")), "."),
    (put("run_reference_ms", "fast"), "."),
    (put("observed", [1]), "observed is not an object"),
    (put("observed", {"a_ms": float("inf")}), "not a finite number"),
    (put("observed", {"a": ["b", 1]}), "not text"),
    (put("observed", {"a": None}), "no observer"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_one_damaged_row_and_nothing_is_imported(
    filled: Store, tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = exported(filled, tmp_path / "some.json", "json")
    document = json.loads(path.read_text(encoding="utf-8"))
    damage(document["measurements"][4])
    path.write_text(json.dumps(document), encoding="utf-8")
    with Store.open(str(tmp_path / "to.db")) as other:
        with pytest.raises(ImportFormatError, match=message) as caught:
            transfer.load(other, path, "json")
        assert "row 5" in str(caught.value)
        assert other.targets() == [] and other.runs() == []


def test_a_version_of_the_future_is_refused(filled: Store, tmp_path: Path) -> None:
    path = exported(filled, tmp_path / "some.json", "json")
    path.write_text(path.read_text(encoding="utf-8").replace('"version": 2', '"version": 3', 1), encoding="utf-8")
    with pytest.raises(ImportFormatError, match=r"version 3; this release reads 1 and 2"):
        transfer.load(filled, path, "json")


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_of_before_there_were_observers_is_read(filled: Store, tmp_path: Path, file_format: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "VERSION", 1)
        patch.setattr(transfer, "COLUMNS", tuple(name for name in transfer.COLUMNS if name != "observed"))
        rows = [row for one in filled.targets() for row in transfer.rows(filled, one)]
        for row in rows:
            del row["observed"]
        patch.setattr(transfer, "_text_cells", lambda row: row | {n: json.dumps(row[n]) for n in transfer._OBJECTS})
        path = tmp_path / f"old.{file_format}"
        transfer.write(path, file_format, rows)
    with Store.open(str(tmp_path / "to.db")) as other:
        assert transfer.load(other, path, file_format).added == 30
        assert all(row.left_out == 0 and not row.flagged for row in other.query()), "all of them count"


def test_the_csv_is_one_that_others_can_read(filled: Store, tmp_path: Path) -> None:
    path = exported(filled, tmp_path / "some.csv", "csv")
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 30
    assert set(found[0]) == set(transfer.COLUMNS)
    assert json.loads(found[0]["settings"])["threads"] == 1


def test_an_interrupted_import_says_so(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    path = exported(filled, tmp_path / "some.csv", "csv")
    with Store.open(str(tmp_path / "to.db")) as other:
        monkeypatch.setattr(other, "add_visits", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transfer.load(other, path, "csv")
        assert [run.status for run in other.runs()] == ["interrupted"]
