"""Every kind of architecture exports to what torch computes, at sizes that the strides do not divide, too."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from latency_db.keys import ImageSize
from searcher.space import FasterSegSpace
from tests.trainer.test_export import trained_norms
from trainer.builtin import BUILTIN
from trainer.export import TOLERANCE, export_checked
from trainer.networks import find_network

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SIZES = [ImageSize(64, 64), ImageSize(97, 130), ImageSize(128, 256)]


@pytest.mark.parametrize("image", SIZES, ids=str)
@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_ones(name: str, image: ImageSize, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = trained_norms(find_network(name).build(19))
    done = export_checked(module, image, tmp_path / "network.onnx")
    assert done.difference <= TOLERANCE and done.batch_norms == 0
    assert done.output_shape[-2:] == tuple(image.at(8))


@pytest.mark.parametrize("image", SIZES, ids=str)
@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize("output", ["1/8", "full"])
def test_those_that_a_search_can_derive(branches: int, output: str, image: ImageSize, tmp_path: Path) -> None:
    space = FasterSegSpace(branches=branches, output=output, num_classes=5)
    rng = random.Random(branches)
    torch.manual_seed(branches)
    for number in range(2):
        module = trained_norms(space.build(space.sample(rng)))
        done = export_checked(module, image, tmp_path / f"{number}.onnx")
        assert done.difference <= TOLERANCE and done.batch_norms == 0
        assert done.output_shape[-2:] == ((image.height, image.width) if output == "full" else tuple(image.at(8)))
