"""What a run noted after each epoch: ``epochs.jsonl`` of its folder, one JSON object a line. No torch here.

A line counts once its line feed is written: a kill leaves at most one incomplete line, the last, and that is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from latency_db import documents
from latency_db.errors import InputError
from trainer.runs.files import cannot, write_whole

EPOCHS = "epochs.jsonl"


class Record(Protocol):
    """What is noted of an epoch."""

    @property
    def epoch(self) -> int:
        """Which, from 0."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""


R = TypeVar("R", bound=Record)


class EpochLines(Generic[R]):
    """Reads and writes the file.

    Args:
        from_json: makes a record of a JSON document and of where it stands; raises InputError where it is none.
    """

    def __init__(self, from_json: Callable[[object, str], R]) -> None:
        self._from_json = from_json

    def read(self, path: Path) -> list[R]:
        """The epochs in a file, in order; none where there is no file yet.

        Raises:
            InputError: it cannot be read, or which complete line is no epoch, or does not come after the one before it.
        """
        records: list[R] = []
        for number, line in enumerate(_complete_lines(path), 1):
            where = f"{path}, line {number}"
            try:
                document = documents.parse(line.decode())
            except ValueError as error:
                raise InputError(f"{where} is not JSON: {error}") from None
            record = self._from_json(document, where)
            if records and record.epoch <= records[-1].epoch:
                raise InputError(f"{where}: epoch {record.epoch} comes after epoch {records[-1].epoch}")
            records.append(record)
        return records

    def append(self, path: Path, record: R) -> None:
        """Add an epoch; it is on the disk when this returns. An incomplete last line gives way to it.

        Raises:
            InputError: a figure that is not finite, or the file cannot be written.
        """
        line = _line(record)
        try:
            # Created where it is missing, and never emptied: what is there may be days of work.
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                # Two lines a minute at most, and a few hundred in all: reading them again costs nothing.
                file.truncate(file.read().rfind(b"\n") + 1)
                file.seek(0, os.SEEK_END)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot("write", path, error) from None

    def keep_until(self, path: Path, epoch: int) -> None:
        """Drop the epochs from ``epoch`` on, at once: a run that goes on from an older checkpoint does them again.

        Raises:
            InputError: as :meth:`read`, or the file cannot be written.
        """
        records = self.read(path)
        kept = [line for record, line in zip(records, _complete_lines(path), strict=True) if record.epoch < epoch]
        if len(kept) < len(records):
            write_whole(path, b"".join(line + b"\n" for line in kept))


def _line(record: Record) -> bytes:
    try:
        return json.dumps(record.to_json(), allow_nan=False).encode() + b"\n"
    except ValueError:
        raise InputError(f"epoch {record.epoch} has a figure that is not finite: the run has diverged") from None


def _complete_lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot("read", path, error) from None
    yield from content.split(b"\n")[:-1]
