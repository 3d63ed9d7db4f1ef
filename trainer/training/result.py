"""What came of a training: ``result.json`` of its folder. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.runs.fields import Fields
from trainer.runs.files import read_object, write_whole


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A training that has ended.

    Attributes:
        network: its name.
        teacher: who taught it; None: nobody.
        dataset: what it learned from.
        miou: on the validation images at the end, in [0, 1].
        iou: of each class; None for a class that is neither in a label nor predicted.
        validation_images: how many they are.
        epochs: how many.
        seconds: that it took, over all sittings.
    """

    network: str
    teacher: str | None
    dataset: str
    miou: float
    iou: Mapping[str, float | None]
    validation_images: int
    epochs: int
    seconds: float

    def save(self, path: Path) -> None:
        """Write it.

        Raises:
            InputError: it cannot be written.
        """
        write_whole(path, f"{json.dumps(asdict(self), ensure_ascii=False, indent=2)}\n".encode())


def read_result(path: Path) -> TrainingResult:
    """Read what :meth:`TrainingResult.save` wrote.

    Raises:
        InputError: where and why it is none.
    """
    fields = Fields(read_object(path), str(path))
    iou = fields.object("iou")
    return TrainingResult(
        network=fields.text("network"),
        teacher=fields.optional("teacher", fields.text),
        dataset=fields.text("dataset"),
        miou=fields.number("miou"),
        iou={name: iou.optional(name, iou.number) for name in iou.names()},
        validation_images=fields.count("validation_images"),
        epochs=fields.count("epochs"),
        seconds=fields.number("seconds"),
    )
