"""An architecture's JSON: what it keeps, and what is refused with which words."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from searcher.space import FasterSegSpace
from trainer.architecture import Architecture, ArchitectureError, Branch, Cell
from trainer.builtin import BUILTIN, FASTERSEG_STUDENT

Document = dict[str, Any]


def document() -> Document:
    """A small architecture with two branches that share their first two cells."""
    shared = [
        {"layer": 0, "s": 8, "stride": 1, "op": "conv", "chi": 4},
        {"layer": 1, "s": 8, "stride": 2, "op": "skip", "chi": 6},
    ]
    return {
        "format": "latency-db/architecture",
        "version": 1,
        "stem_widths": [32, 64, 64],
        "head_chi": 8,
        "num_classes": 19,
        "output": "1/8",
        "branches": [
            {"s": 16, "cells": [*shared, {"layer": 3, "s": 16, "stride": 1, "op": "conv_x2", "chi": None}]},
            {
                "s": 32,
                "cells": [
                    *copy.deepcopy(shared),
                    {"layer": 2, "s": 16, "stride": 2, "op": "zoomed_conv", "chi": 4},
                    {"layer": 3, "s": 32, "stride": 1, "op": "zoomed_conv_x2", "chi": None},
                ],
            },
        ],
    }


def test_the_document_is_an_architecture() -> None:
    found = Architecture.from_json(document())
    assert [branch.s for branch in found.branches] == [16, 32]
    assert found.to_json() == document()


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_samples_survive_the_round_trip(branches: int) -> None:
    space = FasterSegSpace(branches=branches, output="full" if branches == 3 else "1/8", num_classes=11)
    rng = random.Random(branches)
    for _ in range(200):
        architecture = space.sample(rng)
        text = json.dumps(space.to_json(architecture))
        read = space.from_json(json.loads(text))
        assert read == architecture
        assert hash(read) == hash(architecture)
        assert json.dumps(space.to_json(read)) == text


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_ones_survive_it_too(name: str) -> None:
    assert Architecture.from_json(json.loads(json.dumps(BUILTIN[name].to_json()))) == BUILTIN[name]


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        FASTERSEG_STUDENT.head_chi = 12


def test_a_skip_at_stride_1_is_accepted_and_vanishes() -> None:
    written = document()
    cells = written["branches"][0]["cells"]
    cells.insert(2, {"layer": 2, "s": 16, "stride": 1, "op": "skip", "chi": 12})
    assert Architecture.from_json(written) == Architecture.from_json(document())


def test_a_skip_at_stride_1_is_refused_where_nothing_reads_it() -> None:
    with pytest.raises(ArchitectureError, match=r"branches\[0\]\.cells\[0\]: a skip at stride 1"):
        Architecture(
            branches=(
                Branch(
                    cells=(
                        Cell(layer=0, s=8, stride=1, op="skip", chi=4),
                        Cell(layer=1, s=8, stride=1, op="conv", chi=None),
                    )
                ),
            )
        )


def put(*path: Any, value: Any) -> Callable[[Document], None]:
    def change(written: Any) -> None:
        for step in path[:-1]:
            written = written[step]
        written[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[Document], None]:
    def change(written: Any) -> None:
        for step in path[:-1]:
            written = written[step]
        del written[path[-1]]

    return change


CELL = ("branches", 0, "cells", 0)
LAST = ("branches", 0, "cells", 2)

MALFORMED: list[tuple[str, Callable[[Document], None], str]] = [
    *(
        (f"no {name}", drop(name), name)
        for name in ("format", "version", "stem_widths", "head_chi", "num_classes", "output", "branches")
    ),
    *((f"no cell's {name}", drop(*CELL, name), rf"branches\[0\]\.cells\[0\].*{name}") for name in ("layer", "s")),
    *((f"no cell's {name}", drop(*CELL, name), rf"branches\[0\]\.cells\[0\].*{name}") for name in ("stride", "op")),
    ("no cell's chi", drop(*CELL, "chi"), r"branches\[0\]\.cells\[0\].*chi"),
    ("no branch's s", drop("branches", 0, "s"), r"branches\[0\].*'s'"),
    ("no branch's cells", drop("branches", 0, "cells"), r"branches\[0\].*cells"),
    ("another format", put("format", value="onnx"), "format"),
    ("a version of the future", put("version", value=2), "version"),
    ("a version that is true", put("version", value=True), "version"),
    ("head_chi as text", put("head_chi", value="8"), "head_chi is '8', not int"),
    ("head_chi as a fraction", put("head_chi", value=8.0), "head_chi is 8.0, not int"),
    ("head_chi as a bool", put("head_chi", value=True), "head_chi is True, not int"),
    ("head_chi of zero", put("head_chi", value=0), "positive"),
    ("no classes", put("num_classes", value=0), "positive"),
    ("an unknown output", put("output", value="1/4"), "output is '1/4'"),
    ("output as a number", put("output", value=8), "output is 8, not str"),
    ("two stem widths", put("stem_widths", value=[32, 64]), "stem_widths"),
    ("a stem width as text", put("stem_widths", value=[32, 64, "64"]), "stem_widths"),
    ("a stem width as a bool", put("stem_widths", value=[32, 64, True]), "stem_widths"),
    ("a stem width of zero", put("stem_widths", value=[32, 64, 0]), "stem_widths"),
    ("branches as an object", put("branches", value={}), "branches"),
    ("no branches", put("branches", value=[]), "at least one branch"),
    ("a branch as text", put("branches", 0, value="16"), r"branches\[0\] is not an object"),
    ("a cell as a list", put(*CELL, value=[0, 8, 1]), r"branches\[0\]\.cells\[0\] is not an object"),
    ("no cells", put("branches", 0, "cells", value=[]), r"branches\[0\] has no cell"),
    ("a layer as a bool", put(*CELL, "layer", value=False), "layer is False, not int"),
    ("a layer below zero", put(*CELL, "layer", value=-1), "layer -1"),
    ("layers out of order", put("branches", 0, "cells", 1, "layer", value=0), "layer 0 does not come after"),
    ("an unknown operator", put(*CELL, "op", value="deconv"), "op is 'deconv', not one of skip, conv"),
    ("an operator of the decoder", put(*CELL, "op", value="reduce"), "op is 'reduce'"),
    ("stride 3", put(*CELL, "stride", value=3), "stride is 3"),
    ("stride 0", put(*CELL, "stride", value=0), "stride is 0"),
    ("an s that does not follow", put("branches", 1, "cells", 2, "s", value=8), "s is 8, but the branch is at 16"),
    ("an s that does not start at 1/8", put(*CELL, "s", value=16), "s is 16, but the branch is at 8"),
    ("a branch's s that is not its end", put("branches", 0, "s", value=32), "s is 32 but its last cell is at 16"),
    ("chi as a bool", put(*CELL, "chi", value=True), "chi is True"),
    ("chi as a fraction", put(*CELL, "chi", value=4.5), "chi is 4.5"),
    ("chi of zero", put(*CELL, "chi", value=0), "chi is 0"),
    ("no chi in the middle", put(*CELL, "chi", value=None), "chi is None"),
    ("a chi in the last cell", put(*LAST, "chi", value=8), r"cells\[2\]: the last cell"),
    ("a stride in the last cell", put(*LAST, "stride", value=2), r"cells\[2\]: the last cell"),
    ("a shared cell of two minds", put(*CELL, "chi", value=6), "share the cell at layer 0, s 8, stride 1"),
    (
        "a shared cell with two pasts",
        lambda written: written["branches"][1]["cells"].pop(0),
        "share the cell at layer 1, s 8, stride 2",
    ),
    ("two branches with one end", lambda w: w["branches"].append(copy.deepcopy(w["branches"][0])), "of its own"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_document_is_refused_and_the_message_says_where(
    change: Callable[[Document], None], message: str
) -> None:
    written = document()
    change(written)
    with pytest.raises(ArchitectureError, match=message) as caught:
        Architecture.from_json(written)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ArchitectureError, match="JSON object"):
        Architecture.from_json(value)
