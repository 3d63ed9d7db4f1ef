"""What a training notes after each epoch. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trainer.runs.epochs import EPOCHS, EpochLines
from trainer.runs.fields import Fields

__all__ = ["EPOCHS", "EpochRecord", "append_epoch", "keep_until", "read_epochs"]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch.

    Attributes:
        epoch: from 0.
        seconds: that it took, validation included.
        learning_rate: of its last step.
        loss: mean of what was made small.
        segmentation: mean of the segmentation loss.
        auxiliary: mean of the auxiliary losses' weighted sum; None without auxiliary heads.
        distillation: mean of Eq. 4, unweighted; None without a teacher.
        miou: on the validation images, in [0, 1]; None in an epoch without validation.
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    segmentation: float
    auxiliary: float | None
    distillation: float | None
    miou: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_json` reads them back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object, where: str = "the epoch") -> EpochRecord:
        """Read :meth:`to_json`'s output. Keys that it does not know are passed over.

        Raises:
            InputError: where and why it is no epoch.
        """
        fields = Fields(document, where)
        return cls(
            epoch=fields.count("epoch"),
            seconds=fields.number("seconds"),
            learning_rate=fields.number("learning_rate"),
            loss=fields.number("loss"),
            segmentation=fields.number("segmentation"),
            auxiliary=fields.optional("auxiliary", fields.number),
            distillation=fields.optional("distillation", fields.number),
            miou=fields.optional("miou", fields.number),
        )


_LINES = EpochLines(EpochRecord.from_json)
read_epochs = _LINES.read
append_epoch = _LINES.append
keep_until = _LINES.keep_until
