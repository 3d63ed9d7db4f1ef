"""What a search noted after each epoch: ``epochs.jsonl`` of its folder, one JSON object a line. No torch here.

A line counts once its line feed is written: a kill leaves at most one incomplete line, the last, and that is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from latency_db import documents
from latency_db.errors import InputError
from searcher._fields import Fields
from searcher.files import cannot, write_whole
from searcher.result import (
    RESULT,
    ROLES,
    Branches,
    Candidate,
    Derived,
    Role,
    SearchedData,
    SearchResult,
    branches_name,
    parse_branches,
    read_result,
    write_result,
)

__all__ = [
    "EPOCHS",
    "RESULT",
    "ROLES",
    "Branches",
    "Candidate",
    "Derived",
    "EpochRecord",
    "Phase",
    "Role",
    "SearchResult",
    "SearchedData",
    "append_epoch",
    "branches_name",
    "keep_until",
    "parse_branches",
    "read_epochs",
    "read_result",
    "write_result",
]

EPOCHS = "epochs.jsonl"
Phase = Literal["pretrain", "search"]
PHASES: tuple[Phase, Phase] = ("pretrain", "search")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: from 0, counted on from pretraining to searching.
        phase: whether the architectures learned, too.
        seconds: that it took.
        learning_rate: of the weights.
        weight_loss: mean of the segmentation loss on which the weights learned.
        architecture_loss: mean of the loss on which the student's architecture learned (Eq. 8), without the latency;
            None while pretraining.
        lambda_: λ of Eq. 8 at its end; None while pretraining. ``lambda`` in the file.
        latency_ms: expected latency of the relaxed networks, mean over the sets of branches.
        derived_latency_ms: of the student's likeliest network, by set of branches; None where it was not derived.
        miou: of the supernet on the validation images, in [0, 1], by set of branches; None in an epoch without.
        operators: mean α over the cells; operator → share.
        widths: mean γ of the student over the cells; χ → share.
        downsample: mean β⁰ over the cells.
    """

    epoch: int
    phase: Phase
    seconds: float
    learning_rate: float
    weight_loss: float
    architecture_loss: float | None
    lambda_: float | None
    latency_ms: Mapping[Role, float]
    derived_latency_ms: Mapping[Branches, float] | None
    miou: Mapping[Role, Mapping[Branches, float]] | None
    operators: Mapping[Role, Mapping[str, float]]
    widths: Mapping[int, float]
    downsample: Mapping[Role, float]

    def mean_miou(self, role: Role) -> float | None:
        """Mean over the sets of branches, in [0, 1]; None in an epoch without validation."""
        if self.miou is None or not self.miou[role]:
            return None
        return sum(self.miou[role].values()) / len(self.miou[role])

    def to_json(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_json` reads them back exactly."""
        return {
            "epoch": self.epoch,
            "phase": self.phase,
            "seconds": self.seconds,
            "learning_rate": self.learning_rate,
            "weight_loss": self.weight_loss,
            "architecture_loss": self.architecture_loss,
            "lambda": self.lambda_,
            "latency_ms": dict(self.latency_ms),
            "derived_latency_ms": None if self.derived_latency_ms is None else _named(self.derived_latency_ms),
            "miou": None if self.miou is None else {role: _named(values) for role, values in self.miou.items()},
            "operators": {role: dict(shares) for role, shares in self.operators.items()},
            "widths": {str(chi): share for chi, share in self.widths.items()},
            "downsample": dict(self.downsample),
        }

    @classmethod
    def from_json(cls, document: object, where: str = "the epoch") -> EpochRecord:
        """Read :meth:`to_json`'s output. Keys that it does not know are passed over.

        Args:
            document: JSON values.
            where: names the file and the line in complaints.

        Raises:
            InputError: where and why it is no epoch.
        """
        fields = Fields(document, where)
        return cls(
            epoch=fields.count("epoch"),
            phase=cast(Phase, fields.one_of("phase", PHASES)),
            seconds=fields.number("seconds"),
            learning_rate=fields.number("learning_rate"),
            weight_loss=fields.number("weight_loss"),
            architecture_loss=fields.optional("architecture_loss", fields.number),
            lambda_=fields.optional("lambda", fields.number),
            latency_ms=_of_both(fields.object("latency_ms"), Fields.number),
            derived_latency_ms=fields.optional(
                "derived_latency_ms", lambda key: fields.object(key).each(parse_branches)
            ),
            miou=fields.optional("miou", lambda key: _of_both(fields.object(key), _by_branches)),
            operators=_of_both(fields.object("operators"), _by_name),
            widths=fields.object("widths").each(_whole),
            downsample=_of_both(fields.object("downsample"), Fields.number),
        )


def _named(values: Mapping[Branches, float]) -> dict[str, float]:
    return {branches_name(branches): value for branches, value in values.items()}


def _of_both(fields: Fields, read: Callable[[Fields, str], T]) -> dict[Role, T]:
    return {role: read(fields, role) for role in ROLES}


def _by_branches(fields: Fields, key: str) -> dict[Branches, float]:
    return fields.object(key).each(parse_branches)


def _by_name(fields: Fields, key: str) -> dict[str, float]:
    return fields.object(key).each(str)


def _whole(key: str) -> int:
    if not (key.isascii() and key.isdigit()):
        raise ValueError(f"{key!r} is not a whole number")
    return int(key)


def read_epochs(path: Path) -> list[EpochRecord]:
    """The epochs in a file, in order; none where there is no file yet.

    Raises:
        InputError: it cannot be read, or which complete line is no epoch, or does not come after the one before it.
    """
    records: list[EpochRecord] = []
    for number, line in enumerate(_complete_lines(path), 1):
        where = f"{path}, line {number}"
        try:
            document = documents.parse(line.decode())
        except ValueError as error:
            raise InputError(f"{where} is not JSON: {error}") from None
        record = EpochRecord.from_json(document, where)
        if records and record.epoch <= records[-1].epoch:
            raise InputError(f"{where}: epoch {record.epoch} comes after epoch {records[-1].epoch}")
        records.append(record)
    return records


def append_epoch(path: Path, record: EpochRecord) -> None:
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


def keep_until(path: Path, epoch: int) -> None:
    """Drop the epochs from ``epoch`` on, at once: a run that goes on from an older checkpoint does them again.

    Raises:
        InputError: as :func:`read_epochs`, or the file cannot be written.
    """
    records = read_epochs(path)
    kept = [line for record, line in zip(records, _complete_lines(path), strict=True) if record.epoch < epoch]
    if len(kept) < len(records):
        write_whole(path, b"".join(line + b"\n" for line in kept))


def _line(record: EpochRecord) -> bytes:
    try:
        return json.dumps(record.to_json(), allow_nan=False).encode() + b"\n"
    except ValueError:
        raise InputError(f"epoch {record.epoch} has a figure that is not finite: the search has diverged") from None


def _complete_lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot("read", path, error) from None
    yield from content.split(b"\n")[:-1]
