"""Measurements in and out of files: CSV, JSON and Parquet with the same flat rows.

A row is one visit (or one imported value, or one failure) with its samples, its operator and its target, so a file
alone is enough to rebuild what it came from, and importing what is already there changes nothing.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.observers import Json
from backends.protocol import Target
from backends.samples import Visit
from latency_db import documents
from latency_db._visits import observed
from latency_db.errors import ImportFormatError, InputError
from latency_db.keys import ImageSize, OpSpec
from latency_db.rows import RawMeasurement, RunRow, TargetRow
from latency_db.store import Store

FORMAT = "latency-db/measurements"
VERSION = 2
READABLE = (1, 2)
"""Version 1 knew nothing of what was observed."""
FORMATS = ("csv", "json", "parquet")

_TEXT = ("device", "device_name", "backend", "runtime", "runtime_version", "precision", "fingerprint")
_OBJECTS = ("settings", "environment")
_SPEC = ("s", "c_in", "c_out", "stride", "image_height", "image_width", "batch", "branches")
_COUNTS = ("run", "series", "round", "repeats", "warmup")
_TIMES = ("elapsed_ms", "reference_times_ms")
COLUMNS = (
    *_TEXT,
    *_OBJECTS,
    "run",
    "run_reference_ms",
    "series",
    "op",
    *_SPEC,
    "round",
    "provenance",
    "status",
    "reason",
    "latency_ms",
    *_TIMES,
    "repeats",
    "warmup",
    "flags",
    "observed",
)
Row = dict[str, Any]
_READS = " and ".join(map(str, READABLE))


# Out


def rows(store: Store, target: TargetRow) -> Iterator[Row]:
    """Everything that is stored of one target's operators, flat."""
    runs = {run.id: run for run in store.runs(target.id)}
    for measurement in store.raw_measurements(target.id):
        yield _flat(target.target, runs[measurement.run_id], measurement)


def _flat(target: Target, run: RunRow, measurement: RawMeasurement) -> Row:
    spec, visit = measurement.spec, measurement.visit
    return {
        **{name: getattr(target, name) for name in _TEXT},
        "settings": dict(target.settings),
        "environment": dict(target.environment),
        "run": run.id,
        "run_reference_ms": run.reference_ms,
        "series": measurement.series,
        "op": spec.op,
        "s": spec.s,
        "c_in": spec.c_in,
        "c_out": spec.c_out,
        "stride": spec.stride,
        "image_height": spec.image.height,
        "image_width": spec.image.width,
        "batch": spec.batch,
        "branches": spec.branches,
        "round": measurement.round,
        "provenance": measurement.provenance,
        "status": measurement.status,
        "reason": measurement.reason,
        "latency_ms": measurement.latency_ms,
        "elapsed_ms": list(visit.elapsed_ms) if visit else [],
        "reference_times_ms": list(visit.reference_ms) if visit else [],
        "repeats": visit.repeats if visit else None,
        "warmup": visit.warmup if visit else None,
        "flags": list(measurement.flags),
        "observed": dict(visit.observed) if visit and visit.observed is not None else None,
    }


def write(path: Path, file_format: str, found: Sequence[Row]) -> None:
    """Write rows to a file.

    Raises:
        InputError: the file cannot be written, or Parquet's library is missing.
    """
    try:
        _WRITERS[file_format](path, found)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _write_json(path: Path, found: Sequence[Row]) -> None:
    document = {"format": FORMAT, "version": VERSION, "measurements": list(found)}
    path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


def _write_csv(path: Path, found: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in found:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    # Lists and objects are JSON within the cell; floats keep every digit by repr, which csv uses.
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def _text_cells(row: Row) -> Row:
    """The row with its objects as JSON: each has names of its own, which columns of a table cannot have."""
    return row | {name: _cell(row[name]) for name in (*_OBJECTS, "observed")}


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow", hint="pip install 'latency-db[parquet]'") from None
    return pyarrow


def _write_parquet(path: Path, found: Sequence[Row]) -> None:
    pyarrow = _parquet()
    flat = [_text_cells(row) for row in found]
    schema = pyarrow.schema([(name, _arrow_type(pyarrow, name)) for name in COLUMNS])
    table = pyarrow.Table.from_pylist(flat, schema=schema)
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({"format": FORMAT, "version": str(VERSION)}), path, compression="zstd"
    )


def _arrow_type(pyarrow: Any, name: str) -> Any:
    if name in _SPEC or name in _COUNTS:
        return pyarrow.int64()
    if name in ("latency_ms", "run_reference_ms"):
        return pyarrow.float64()
    if name in _TIMES:
        return pyarrow.list_(pyarrow.float64())
    return pyarrow.list_(pyarrow.string()) if name == "flags" else pyarrow.string()


_WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
}


# In


@dataclass(frozen=True)
class _Parsed:
    target: Target
    run: int
    reference_ms: float | None
    series: int
    spec: OpSpec
    round: int
    provenance: str
    status: str
    reason: str | None
    latency_ms: float | None
    visit: Visit | None
    flags: tuple[str, ...]

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two rows the same measurement."""
        samples = self.visit.elapsed_ms if self.visit else ()
        value = None if self.visit else self.latency_ms
        return self.spec, self.series, self.round, self.provenance, self.status, value, samples


@dataclass(frozen=True)
class ImportResult:
    """How many rows the file had, and how many of them were new."""

    rows: int
    added: int


def load(store: Store, path: Path, file_format: str) -> ImportResult:
    """Import a file that :func:`write` wrote. All of it is read and checked before anything is stored.

    Raises:
        ImportFormatError: what is wrong and in which row.
        InputError: the file cannot be read.
    """
    try:
        raw = _READERS[file_format](path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    parsed = []
    for number, row in enumerate(raw, 1):
        try:
            parsed.append(_parse(row))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no column {error}" if isinstance(error, KeyError) else str(error)
            raise ImportFormatError(f"{path}, row {number}: {reason}") from None
    # A row that the file has twice is one measurement.
    distinct = {(row.target.key, row.identity): row for row in parsed}
    targets = _grouped(distinct.values(), lambda row: row.target.key)
    return ImportResult(len(parsed), sum(_add(store, group) for group in targets))


def _grouped(parsed: Iterable[_Parsed], key: Callable[[_Parsed], Hashable]) -> Iterable[list[_Parsed]]:
    """In the order in which the groups begin."""
    groups: dict[Hashable, list[_Parsed]] = {}
    for row in parsed:
        groups.setdefault(key(row), []).append(row)
    return groups.values()


def _add(store: Store, group: Sequence[_Parsed]) -> int:
    """Store one target's rows as far as they are new: a run for each run that they come from."""
    target_id = store.ensure_target(group[0].target)
    # Read once, however many runs there are: no row of the file is in two of them.
    known = {_identity(measurement) for measurement in store.raw_measurements(target_id)}
    new = [row for row in group if row.identity not in known]
    for run in _grouped(new, lambda row: (row.run, row.series)):
        _add_run(store, target_id, run)
    return len(new)


def _add_run(store: Store, target_id: int, new: Sequence[_Parsed]) -> None:
    first = new[0]
    ids = store.ensure_specs(sorted({row.spec for row in new}))
    with store.running(
        target_id,
        "import",
        series=first.series,
        plan={"source_run": first.run},
        environment=dict(first.target.environment),
    ) as run:
        run.reason, run.reference_ms = "imported", first.reference_ms
        # First of all, so that what follows has its unit even if this is cut short.
        store.heartbeat(run.id, first.reference_ms)
        for provenance in sorted({row.provenance for row in new}):
            chosen = [row for row in new if row.provenance == provenance and row.status == "ok"]
            store.add_visits(run.id, [(ids[row.spec], row.visit) for row in chosen if row.visit], provenance=provenance)
            values = [row for row in chosen if not row.visit]
            store.add_values(
                run.id,
                [(ids[row.spec], row.latency_ms) for row in values if row.latency_ms is not None],
                provenance,
                flags={ids[row.spec]: row.flags for row in values},
            )
        for row in new:
            if row.status != "ok":
                store.add_failure(run.id, ids[row.spec], row.round, row.reason or "unknown")


def _identity(measurement: RawMeasurement) -> tuple[object, ...]:
    samples = measurement.visit.elapsed_ms if measurement.visit else ()
    value = None if measurement.visit else measurement.latency_ms
    return (
        measurement.spec,
        measurement.series,
        measurement.round,
        measurement.provenance,
        measurement.status,
        value,
        samples,
    )


def _parse(row: Mapping[str, Any]) -> _Parsed:
    texts: dict[str, Any] = {name: _text(row, name) for name in _TEXT}
    target = Target(**texts, settings=_object(row, "settings"), environment=_object(row, "environment"))
    spec = OpSpec(
        op=_text(row, "op"),
        image=ImageSize(_count(row, "image_height"), _count(row, "image_width")),
        **{name: _count(row, name) for name in ("s", "c_in", "c_out", "stride", "batch", "branches")},
    )
    provenance, status = _text(row, "provenance"), _text(row, "status")
    if provenance not in ("measured", "imported", "predicted"):
        raise ValueError(f"provenance is {provenance!r}")
    if status not in ("ok", "failed"):
        raise ValueError(f"status is {status!r}")
    visit = _visit(row) if status == "ok" and _times(row, "elapsed_ms") else None
    latency_ms = _number(row, "latency_ms")
    if status == "ok" and visit is None and (latency_ms is None or latency_ms <= 0):
        raise ValueError("neither samples nor a positive latency_ms")
    return _Parsed(
        target=target,
        run=_count(row, "run"),
        reference_ms=_number(row, "run_reference_ms"),
        series=_count(row, "series"),
        spec=spec,
        round=_count(row, "round"),
        provenance=provenance,
        status=status,
        reason=str(row["reason"]) if row["reason"] else None,
        latency_ms=latency_ms,
        visit=visit,
        flags=_flags(row),
    )


def _visit(row: Mapping[str, Any]) -> Visit:
    return Visit(
        round=_count(row, "round"),
        elapsed_ms=_times(row, "elapsed_ms"),
        reference_ms=_times(row, "reference_times_ms"),
        repeats=_count(row, "repeats"),
        warmup=_count(row, "warmup"),
        flags=_flags(row),
        observed=_observed(row),
    )


def _observed(row: Mapping[str, Any]) -> Mapping[str, Json] | None:
    # Not in files of version 1.
    if row.get("observed") in (None, ""):
        return None
    found = observed(_object(row, "observed"))
    assert found is not None
    for name, value in found.items():
        if isinstance(value, float):
            _finite(name, value)
        elif isinstance(value, tuple) and not all(isinstance(part, str) for part in value):
            raise ValueError(f"observed: {name} has something that is not text")
        elif not isinstance(value, (str, int, tuple)):
            raise ValueError(f"observed: {name} is {value!r}, which no observer says")
    return found


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r}, not text")
    return value


def _count(row: Mapping[str, Any], name: str) -> int:
    value = row[name]
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{name} is {value!r}, not a whole number")


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row[name]
    if value is None or value == "":
        return None
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return _finite(name, float(value))
    raise ValueError(f"{name} is {value!r}, not a number")


def _object(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = json.loads(row[name]) if isinstance(row[name], str) else row[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    return value


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    value = json.loads(row[name]) if isinstance(row[name], str) else row[name]
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def _flags(row: Mapping[str, Any]) -> tuple[str, ...]:
    flags = _list(row, "flags")
    if not all(isinstance(flag, str) for flag in flags):
        raise ValueError("flags has something that is not text")
    return tuple(flags)


def _times(row: Mapping[str, Any], name: str) -> tuple[float, ...]:
    return tuple(_finite(name, float(value)) for value in _list(row, name))


def _finite(name: str, value: float) -> float:
    # JSON and CSV both read "NaN"; the database refuses it, but only when half of the file is in.
    if not math.isfinite(value):
        raise ValueError(f"{name} has {value}, not a finite number")
    return value


def _read_json(path: Path) -> list[Row]:
    try:
        document = documents.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ImportFormatError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ImportFormatError(f'{path} is not an export of measurements: "format" is not {FORMAT!r}')
    if document.get("version") not in READABLE:
        raise ImportFormatError(f"{path} has version {document.get('version')!r}; this release reads {_READS}")
    found = document.get("measurements")
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ImportFormatError(f'{path}: "measurements" is not a list of objects')
    return found


def _read_csv(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name != "observed" and name not in (reader.fieldnames or ())]
            if lacking:
                raise ImportFormatError(f"{path} is not an export of measurements: no column {lacking[0]!r}")
            return list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImportFormatError(f"{path} is not CSV: {error}") from None


def _read_parquet(path: Path) -> list[Row]:
    pyarrow = _parquet()
    try:
        table = pyarrow.parquet.read_table(path)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        if metadata.get("format") != FORMAT or metadata.get("version") not in [str(version) for version in READABLE]:
            raise ImportFormatError(f"{path} is not an export of measurements of version {_READS}")
        found: list[Row] = table.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise ImportFormatError(f"{path} is not Parquet: {str(error).splitlines()[0]}") from None
    return found


_READERS: dict[str, Callable[[Path], list[Row]]] = {"csv": _read_csv, "json": _read_json, "parquet": _read_parquet}


def guess_format(path: Path) -> str:
    """The format by the file's ending.

    Raises:
        InputError: another ending.
    """
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise InputError(f"{path}: the ending is none of {', '.join('.' + name for name in FORMATS)}", hint="--format")
    return ending


__all__ = ["COLUMNS", "FORMATS", "ImportResult", "guess_format", "load", "rows", "write"]
