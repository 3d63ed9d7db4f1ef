"""The classes that a trained network sees in an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from latency_db.errors import InputError
from trainer.data.dataset import normalise
from trainer.data.sample import IGNORE, Size
from trainer.image_files import image_to
from trainer.inference import run_network
from trainer.losses import upsampled
from trainer.trained import Trained

SMALLEST = 64
"""Height and width, in pixels, of what networks take."""
Classes = npt.NDArray[np.uint8]
"""(H, W), the index of a class for every pixel."""


class Predictor:
    """From images to classes: single scale, no flips, as an evaluation does it.

    Args:
        trained: the network, on ``device``.
        size: (height, width) that images are brought to for the network; None for their own.
        device: where the network is.

    Raises:
        InputError: more classes than a mask has numbers for.
    """

    def __init__(
        self, trained: Trained, *, size: tuple[int, int] | None = None, device: torch.device | str = "cpu"
    ) -> None:
        if len(trained.classes) > IGNORE:
            raise InputError(f"{trained.spec.name} has {len(trained.classes)} classes; a mask has room for {IGNORE}")
        self.trained = trained
        self.size = None if size is None else Size(*size)
        self.device = device

    def __call__(self, image: Image.Image, name: str = "the image") -> Classes:
        """The most likely class of every pixel, at the image's own resolution.

        Args:
            image: mode RGB.
            name: what to call it in a message.

        Raises:
            InputError: it is too small, or the network gives no logits.
        """
        seen = image if self.size is None else image_to(image, self.size)
        if min(seen.size) < SMALLEST:
            raise InputError(
                f"{name} is {seen.height}x{seen.width}; networks take {SMALLEST}x{SMALLEST} at least "
                "(--size HxW brings images to a size)"
            )
        inputs = normalise(seen)[None].to(self.device)
        logits = run_network(self.trained.module, inputs, len(self.trained.classes))
        full = upsampled(logits, logits.new_empty(1, 1, 1).expand(1, image.height, image.width))
        return full.argmax(1)[0].to(torch.uint8).cpu().numpy()
