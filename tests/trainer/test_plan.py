"""The operators of a network: the paper's student gives exactly the list that its authors' code gives."""

from __future__ import annotations

import csv
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from latency_db.keys import ImageSize
from searcher.space import FasterSegSpace
from trainer.builtin import FASTERSEG_STUDENT
from trainer.network import Network
from trainer.plan import IMAGE, Step, plan

CITYSCAPES = ImageSize(1024, 2048)
Key = tuple[str, int, int, int, int]
"""(operator, s, channels in, channels out, stride)"""
_BLOCKS = {
    "BasicResidual1x": "conv",
    "BasicResidual2x": "conv_x2",
    "BasicResidual_downup_1x": "zoomed_conv",
    "BasicResidual_downup_2x": "zoomed_conv_x2",
}


def key_of(table_key: str) -> Key:
    """An entry of the paper's lookup table in our words."""
    name, _, rest = table_key.partition("_H")
    numbers = {field: int(value) for field, value in re.findall(r"([A-Za-z]+)(\d+)", "H" + rest)}
    s = CITYSCAPES.height // numbers["H"]
    if name == "ff":
        return "fuse", s, numbers["C"], numbers["C"], 1
    if name == "head":
        return "classify", s, numbers["Cin"], numbers["Cout"], 1
    if name == "ConvNorm":
        # One class of theirs serves three purposes; what it does tells which.
        op = {(3, 2): "conv", (1, 1): "reduce", (3, 1): "merge"}[numbers["kernel"], numbers["stride"]]
    else:
        op = _BLOCKS[name]
    return op, s, numbers["Cin"], numbers["Cout"], numbers["stride"]


def keys(steps: tuple[Step, ...]) -> Counter[Key]:
    return Counter((step.spec.op, step.spec.s, step.spec.c_in, step.spec.c_out, step.spec.stride) for step in steps)


def test_the_student_is_what_its_authors_code_lists(shared_dir: Path) -> None:
    path = shared_dir / "data" / "fasterseg" / "student_decomposition.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the reference data")
    with path.open(newline="", encoding="utf-8") as file:
        expected = Counter(key_of(row["table_key"]) for row in csv.DictReader(file) if row["branches"] == "32+16")
    assert expected.total() == 27
    assert keys(plan(FASTERSEG_STUDENT, CITYSCAPES)) == expected


def test_the_student_has_the_papers_multiply_adds() -> None:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        Network(FASTERSEG_STUDENT).eval()(torch.empty(1, 3, CITYSCAPES.height, CITYSCAPES.width))
    # A multiply-add counts once; torch counts two operations.
    assert counter.get_total_flops() / 2e9 == pytest.approx(27.77, abs=0.005)


def test_steps_are_in_an_order_in_which_they_can_run() -> None:
    rng = random.Random(7)
    space = FasterSegSpace(branches=3, output="full")
    for _ in range(50):
        steps = plan(space.sample(rng), ImageSize(97, 130))
        assert len({step.name for step in steps}) == len(steps)
        used = {source for step in steps for source in step.inputs}
        for index, step in enumerate(steps):
            assert all(source == IMAGE or 0 <= source < index for source in step.inputs)
            # What each input brings is what the operator takes.
            brought = [
                (1, 3, 97, 130) if source == IMAGE else steps[source].spec.output_shape for source in step.inputs
            ]
            if step.spec.op != "upsample":
                assert tuple(brought) == step.spec.input_shapes, step.name
        assert used == {IMAGE, *range(len(steps) - 1)}, "every step but the last feeds another"


def test_the_decoder_shares_nothing() -> None:
    steps = plan(FASTERSEG_STUDENT, CITYSCAPES)
    decoders = [step for step in steps if step.spec.op in ("reduce", "merge")]
    # 32 goes up in two steps, 16 in one; the last of either is the same key twice.
    assert len(decoders) == 6
    assert Counter(step.spec for step in decoders).most_common(1)[0][1] == 2


def test_the_batch_is_in_every_operator() -> None:
    assert {step.spec.batch for step in plan(FASTERSEG_STUDENT, CITYSCAPES, batch=4)} == {4}
