"""What surrounds the cells, read off one architecture, is what surrounds those of any other."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from latency_db.keys import MERGE, ImageSize, OpSpec
from searcher.space import FasterSegSpace
from searcher.surroundings import surroundings
from trainer.plan import IMAGE, plan

SIZE = ImageSize(97, 130)


def without_side(spec: OpSpec) -> OpSpec:
    """What joins at a merge, and so how wide it is, is a choice."""
    return replace(spec, c_in=1) if spec.op == MERGE else spec


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layers": 5, "branches": 1},
        {"layers": 4, "branches": 3, "output": "full", "num_classes": 11, "head_chi": 7},
        # The first layer downsamples in every architecture that ends at the coarsest scale: the stem's map is joined.
        {"layers": 3},
        {"layers": 2, "scales": (8, 16), "branches": 1},
        {"layers": 4, "scales": (8, 16, 32, 64), "branches": 2, "stem_widths": (4, 8, 24)},
    ],
    ids=str,
)
def test_every_architecture_has_the_same_surroundings(settings: dict[str, Any]) -> None:
    space, rng = FasterSegSpace(**settings), random.Random(4)
    expected = {
        finals: surroundings(space.lattice, space.architecture, finals, SIZE, 2)
        for finals in space.lattice.branch_sets()
    }
    for _ in range(60):
        choices, finals = space.lattice.sample(rng)
        around = expected[finals]
        steps = plan(space.architecture(choices, finals), SIZE, 2)
        others = [step for step in steps if step.name not in around.specs]
        assert all(step.name.startswith("cell_") for step in others)
        assert list(around.specs) == [step.name for step in steps if step not in others]
        for step in steps:
            if step not in others:
                assert without_side(step.spec) == without_side(around.specs[step.name])
        pairs = Counter(
            (without_side(steps[index].spec), without_side(step.spec))
            for step in steps
            for index in step.inputs
            # The stem's last step feeds what the cells choose.
            if index not in (IMAGE, 2) and not {steps[index].name, step.name} & {other.name for other in others}
        )
        assert pairs == Counter((without_side(one), without_side(two)) for one, two in around.pairs)
        assert around.source == steps[2].spec
        ends = {step.spec.s: step for step in others if step.name.startswith(f"cell_l{space.lattice.layers - 1}_")}
        assert set(around.ends) == set(ends) == set(finals)
        for s, (end, consumer) in around.ends.items():
            assert end.c_out == ends[s].spec.c_out
            (taker,) = (step for step in steps if steps.index(ends[s]) in step.inputs)
            assert consumer == taker.spec


def test_no_torch_is_loaded() -> None:
    code = "import sys; from searcher import frame, surroundings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
