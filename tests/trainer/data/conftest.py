"""Small fake copies of what can be downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 24, 40
Write = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> Write:
    """Write an RGB image of noise below tmp_path and give its path."""

    def write(name: str, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
        return path

    return write


@pytest.fixture
def write_label(tmp_path: Path) -> Write:
    """Write a label whose pixels take the given values in turn, below tmp_path, and give its path."""

    def write(
        name: str, values: list[int] | list[tuple[int, int, int]], height: int = HEIGHT, width: int = WIDTH
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.array(values, dtype=np.uint8)
        Image.fromarray(array[np.arange(height * width) % len(values)].reshape(height, width, *array.shape[1:])).save(
            path
        )
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, write_image: Write, write_label: Write) -> Path:
    """A folder data set of five images and three classes, without splits."""
    for index in range(5):
        write_image(f"images/{index}.png", seed=index)
        write_label(f"masks/{index}.png", [0, 0, 1, 2, 255])
    (tmp_path / "classes.txt").write_text("floor\nwall\n\nlamp\n", encoding="utf-8")
    return tmp_path
