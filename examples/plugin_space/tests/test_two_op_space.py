"""The example keeps what a space has to keep."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from latency_db.keys import ImageSize, OpSpec
from latency_db.space import Space
from latency_db.testing import SpaceContract

IMAGE = ImageSize(90, 65)


def _load() -> ModuleType:
    """The module beside this folder: no installation needed to test it."""
    path = Path(__file__).resolve().parent.parent / "two_op_space.py"
    spec = importlib.util.spec_from_file_location("two_op_space", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["two_op_space"] = module
    spec.loader.exec_module(module)
    return module


two_op_space = _load()
SPACE = two_op_space.PlainConvSpace(depth=4, widths=(4, 8))


class TestContract(SpaceContract):
    """All that latency-db relies on."""

    @pytest.fixture
    def space(self) -> Space:
        space: Space = SPACE
        return space


@pytest.mark.parametrize("spec", SPACE.specs(IMAGE, batch=2), ids=lambda spec: spec.name)
def test_a_spec_has_the_shapes_of_its_module(spec: OpSpec) -> None:
    inputs = [torch.zeros(shape) for shape in spec.input_shapes]
    assert tuple(SPACE.build_operator(spec)(*inputs).shape) == spec.output_shape


def test_specs_are_exactly_what_architectures_need() -> None:
    specs = SPACE.specs(IMAGE)
    rng = random.Random(0)
    needed = {spec for _ in range(300) for spec in SPACE.decompose(SPACE.sample(rng), IMAGE).specs}
    assert len(specs) == len(set(specs))
    assert needed == set(specs)


def test_a_network_is_its_operators_one_after_another() -> None:
    architecture = SPACE.sample(random.Random(1))
    decomposition = SPACE.decompose(architecture, IMAGE)
    network = SPACE.build(architecture)
    x = torch.zeros(decomposition.specs[0].input_shapes[0])
    assert len(network) == len(decomposition.specs)
    for module, spec in zip(network, decomposition.specs, strict=True):
        x = module(x)
        assert tuple(x.shape) == spec.output_shape
    assert decomposition.edges == ((0, 1), (1, 2), (2, 3))


def test_json_comes_back_as_it_went() -> None:
    for architecture in (*SPACE.builtin().values(), SPACE.sample(random.Random(2))):
        assert SPACE.from_json(json.loads(json.dumps(SPACE.to_json(architecture)))) == architecture


LAYER = {"op": "conv3x3", "width": 4}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "JSON object"),
        ({"layers": [LAYER]}, "space"),
        ({"space": "fasterseg", "layers": [LAYER]}, "space"),
        ({"space": "plain-conv", "layers": []}, "1 to 4 layers"),
        ({"space": "plain-conv", "layers": [LAYER] * 5}, "1 to 4 layers"),
        ({"space": "plain-conv", "layers": [LAYER], "depth": 1}, "unknown key 'depth'"),
        ({"space": "plain-conv", "layers": [{"op": "pointwise", "width": 4}]}, r"layers\[0\].op"),
        ({"space": "plain-conv", "layers": [LAYER, {"op": ["conv3x3"], "width": 4}]}, r"layers\[1\].op"),
        ({"space": "plain-conv", "layers": [LAYER, {"op": "conv3x3", "width": 5}]}, r"layers\[1\].width"),
        ({"space": "plain-conv", "layers": [LAYER, {"op": "conv3x3"}]}, r"layers\[1\]: must be an object"),
    ],
)
def test_a_foreign_document_is_refused(document: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPACE.from_json(document)


@pytest.mark.parametrize("settings", [{"depth": 0}, {"depth": True}, {"widths": ()}, {"widths": (0,)}])
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        two_op_space.PlainConvSpace(**settings)
