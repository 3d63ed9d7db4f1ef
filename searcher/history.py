"""What a search noted after each epoch. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

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
from trainer.runs.epochs import EPOCHS, EpochLines
from trainer.runs.fields import Fields

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


_LINES = EpochLines(EpochRecord.from_json)
read_epochs = _LINES.read
append_epoch = _LINES.append
keep_until = _LINES.keep_until
