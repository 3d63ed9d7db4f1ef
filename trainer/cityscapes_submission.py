"""Results as the server of the Cityscapes benchmark takes them.

Its rules for pixel-level labelling: one PNG per image, 8 bits, of the image's size, whose pixels are label ids and not
train ids, and whose name begins with the image's ``<city>_<sequence>_<frame>``; no second such file anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from latency_db.errors import InputError
from trainer.data.cityscapes import CLASSES, TRAIN_IDS
from trainer.data.sample import IGNORE
from trainer.overlay import png_bytes
from trainer.predictor import Classes
from trainer.trained import Trained

_BEGINNING = re.compile(r"[A-Za-z-]+_\d+_\d+")
_ENDING = "_leftImg8bit"
_LABEL_IDS = np.zeros(256, dtype=np.uint8)
for _label_id, _train_id in TRAIN_IDS.items():
    if _train_id != IGNORE:
        _LABEL_IDS[_train_id] = _label_id


class SubmissionFile:
    """The label ids of an image, as a PNG that the server takes.

    Args:
        trained: the network.

    Raises:
        InputError: it was not trained for Cityscapes' 19 classes.
    """

    def __init__(self, trained: Trained) -> None:
        if trained.classes != CLASSES:
            raise InputError(
                f"{trained.spec.name} was trained for the {len(trained.classes)} classes of {trained.dataset}; a "
                f"submission to Cityscapes needs its {len(CLASSES)}"
            )

    def name(self, picture: Path) -> Path:
        """From ``berlin/berlin_000000_000019_leftImg8bit.png`` to ``berlin_000000_000019_labelIds.png``.

        Raises:
            InputError: the image has no such name.
        """
        return Path(f"{self._beginning(picture)}_labelIds.png")

    def require_alone(self, pictures: Iterable[Path], out: Path) -> None:
        """See that a folder holds nothing else that the server would take for a result of one of the images.

        Raises:
            InputError: it does; the message names the file.
        """
        names = {self._beginning(picture): self.name(picture) for picture in pictures}
        for path in sorted(out.rglob("*.png")):
            found = _BEGINNING.match(path.name)
            if found is not None and found[0] in names and path != out / names[found[0]]:
                raise InputError(
                    f"{path} is there, which the server would take for a second result of {found[0]}: name a new --out"
                )

    def encode(self, image: Image.Image, classes: Classes) -> bytes:
        """The file's content, mode L."""
        return png_bytes(Image.fromarray(_LABEL_IDS[classes]))

    def _beginning(self, picture: Path) -> str:
        beginning = picture.stem.removesuffix(_ENDING)
        if beginning == picture.stem or not _BEGINNING.fullmatch(beginning):
            raise InputError(
                f"{picture} is not named as Cityscapes' images are, <city>_<sequence>_<frame>{_ENDING}.png: the "
                "server would not know what it is of"
            )
        return beginning
