"""Augmentation does the same to image and label, and nothing that chance did not decide."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.data import IGNORE, Augment, DataError, Sample, Size
from trainer.data.augment import PADDING
from trainer.data.dataset import normalise

PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


def blocks(height: int = 64, width: int = 96) -> Sample:
    """Blocks of 16 pixels; the red channel is ten times the label."""
    rows, columns = np.mgrid[:height, :width] // 16
    label = (rows * 6 + columns).astype(np.uint8)
    image = np.stack([label * 10, 255 - label, label], axis=2)
    return Sample(Image.fromarray(image), Image.fromarray(label))


@pytest.mark.parametrize("seed", range(12))
def test_image_and_label_stay_together(seed: int) -> None:
    sample = Augment(Size(48, 80), **PLAIN)(blocks(), Random(seed))
    assert sample.image.size == sample.label.size == (80, 48)
    image, label = np.asarray(sample.image).astype(int), np.asarray(sample.label).astype(int)
    padded = label == IGNORE
    assert (image[padded] == PADDING).all()
    # Between blocks the image is a blend and the label is not: there they may differ.
    agree = np.abs(image[..., 0] - label * 10)[~padded] <= 5
    assert agree.mean() > 0.7


def test_the_smaller_image_is_padded_and_ignored() -> None:
    sample = Augment(Size(64, 96), scale=(0.5, 0.5), flip=0, **PLAIN)(blocks(), Random(1))
    label = np.asarray(sample.label)
    assert (label != IGNORE).sum() == 32 * 48


def test_nothing_is_asked_for_and_nothing_happens() -> None:
    sample = blocks()
    same = Augment(Size(64, 96), scale=(1, 1), flip=0, **PLAIN)(sample, Random(0))
    assert same.image.tobytes() == sample.image.tobytes() and same.label.tobytes() == sample.label.tobytes()
    mirrored = Augment(Size(64, 96), scale=(1, 1), flip=1, **PLAIN)(sample, Random(0))
    assert (np.asarray(mirrored.label) == np.asarray(sample.label)[:, ::-1]).all()
    assert (np.asarray(mirrored.image) == np.asarray(sample.image)[:, ::-1]).all()


def test_colour_changes_the_image_alone() -> None:
    sample = blocks()
    changed = Augment(Size(64, 96), scale=(1, 1), flip=0)(sample, Random(0))
    assert changed.image.tobytes() != sample.image.tobytes() and changed.label.tobytes() == sample.label.tobytes()


def test_chance_decides_alike_for_the_same_seed() -> None:
    augment = Augment(Size(32, 32))
    one, same, other = (augment(blocks(), Random(seed)).image.tobytes() for seed in (4, 4, 5))
    assert one == same != other


@pytest.mark.parametrize(
    "arguments",
    [{"crop": Size(0, 4)}, {"scale": (2.0, 0.5)}, {"scale": (0.0, 1.0)}, {"flip": 1.5}, {"contrast": -0.1}],
    ids=str,
)
def test_settings_that_make_no_sense(arguments: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Augment(**{"crop": Size(8, 8), **arguments})


def test_normalisation_is_imagenets() -> None:
    image = normalise(Image.new("RGB", (2, 1), (0, 255, 124)))
    expected = torch.tensor([-0.485 / 0.229, (1 - 0.456) / 0.224, (124 / 255 - 0.406) / 0.225])
    assert image.is_contiguous() and image.dtype == torch.float32
    torch.testing.assert_close(image[:, 0, 0], expected)
    assert normalise(Image.new("RGB", (1, 1), PADDING)).abs().max() < 0.02
