"""The FasterSeg space as a plugin: what it enumerates is what its samples need."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from latency_db.keys import ImageSize
from searcher.space import FasterSegSpace
from trainer.architecture import ArchitectureError
from trainer.plan import IMAGE, plan

SETTINGS: list[dict[str, Any]] = [
    {},
    {"branches": 1},
    {"branches": 3, "output": "full", "num_classes": 11},
    {"head_chi": 12},
    {"head_chi": 7, "chis": (4, 6), "stem_widths": (16, 32, 40)},
    {"layers": 2, "scales": (8, 16)},
    {"layers": 3},
    {"scales": (8,), "branches": 1},
]
IMAGES = [ImageSize(256, 512), ImageSize(97, 130)]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_samples_need_is_enumerated(settings: dict[str, Any]) -> None:
    space = FasterSegSpace(**settings)
    rng = random.Random(5)
    for image in IMAGES:
        specs = set(space.specs(image, batch=2))
        for _ in range(150):
            needed = space.decompose(space.sample(rng), image, batch=2).specs
            assert set(needed) <= specs


@pytest.mark.parametrize("settings", [{}, {"branches": 3, "output": "full"}, {"head_chi": 12}], ids=str)
def test_what_is_enumerated_is_needed_by_some_architecture(settings: dict[str, Any]) -> None:
    small: dict[str, Any] = {"layers": 4, "chis": (4, 6), **settings}
    space = FasterSegSpace(**small)
    rng = random.Random(6)
    left = set(space.specs(IMAGES[0]))
    for _ in range(6000):
        left.difference_update(space.decompose(space.sample(rng), IMAGES[0]).specs)
        if not left:
            break
    assert left == set()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_specs_are_sorted_and_there_once(settings: dict[str, Any]) -> None:
    specs = list(FasterSegSpace(**settings).specs(IMAGES[0]))
    assert specs == sorted(set(specs))


def test_the_whole_space_has_567_operators() -> None:
    assert len(FasterSegSpace().specs(IMAGES[0])) == 567


def test_a_shared_cell_is_one_operator_and_what_is_not_shared_two() -> None:
    space = FasterSegSpace()
    rng = random.Random(8)
    for _ in range(100):
        architecture = space.sample(rng)
        places = {cell.place for branch in architecture.branches for cell in branch.cells}
        rises = sum(branch.s.bit_length() - 4 for branch in architecture.branches)
        # Stem, cells, two operators for each step up of each branch, fuse and classify.
        assert len(space.decompose(architecture, IMAGES[0]).specs) == 3 + len(places) + 2 * rises + 2


def test_edges_are_the_steps_inputs() -> None:
    space = FasterSegSpace(branches=3)
    rng = random.Random(9)
    for _ in range(50):
        architecture = space.sample(rng)
        decomposition = space.decompose(architecture, IMAGES[1])
        steps = plan(architecture, IMAGES[1])
        assert decomposition.specs == tuple(step.spec for step in steps)
        expected = Counter((source, index) for index, step in enumerate(steps) for source in step.inputs)
        assert Counter(decomposition.edges) == Counter(
            {edge: count for edge, count in expected.items() if edge[0] != IMAGE}
        )
        for producer, consumer in decomposition.edges:
            out, into = decomposition.specs[producer].output_shape, decomposition.specs[consumer].input_shapes
            assert out in into


def test_samples_are_reproducible_and_differ() -> None:
    space = FasterSegSpace()
    first, second = ([space.sample(random.Random(seed)) for seed in range(30)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 30


def test_the_built_in_student_is_of_the_space() -> None:
    space = FasterSegSpace()
    student = space.builtin()["fasterseg-student"]
    assert set(space.decompose(student, IMAGES[0]).specs) <= set(space.specs(IMAGES[0]))


def test_a_document_of_something_else_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="format"):
        FasterSegSpace().from_json({"space": "plain-conv", "layers": []})
