"""How an architecture runs: one list of steps, from which both the network and its latency are made. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec
from trainer.architecture import FINEST, Architecture, Branch, Cell

IMAGE = -1
"""The input of the first step."""


@dataclass(frozen=True)
class Step:
    """One operator of a network.

    Attributes:
        name: unique in the network and a valid module name.
        spec: the operator, its widths and its place.
        inputs: the steps whose outputs it takes, in order; :data:`IMAGE` for the image.
    """

    name: str
    spec: OpSpec
    inputs: tuple[int, ...]


def cell_name(cell: Cell) -> str:
    """The step that is this cell, of whichever branch."""
    return f"cell_l{cell.layer}_s{cell.s}_x{cell.stride}"


class _Planner:
    """Collects steps; a step of a known name is not added again, which is how branches share."""

    def __init__(self, architecture: Architecture, image: ImageSize, batch: int) -> None:
        self.architecture = architecture
        self.image = image
        self.batch = batch
        self.steps: list[Step] = []
        self.index: dict[str, int] = {}

    def add(
        self,
        name: str,
        op: str,
        s: int,
        c_in: int,
        c_out: int,
        inputs: tuple[int, ...],
        stride: int = 1,
        branches: int = 1,
    ) -> int:
        if name not in self.index:
            spec = OpSpec(op, s, c_in, c_out, stride, self.image, self.batch, branches)
            self.index[name] = len(self.steps)
            self.steps.append(Step(name, spec, inputs))
        return self.index[name]

    def width(self, step: int) -> int:
        return self.steps[step].spec.c_out

    def stem(self) -> int:
        first, second, third = self.architecture.stem_widths
        step = self.add("stem0", "conv", 1, 3, first, (IMAGE,), stride=2)
        step = self.add("stem1", "conv_x2", 2, first, second, (step,), stride=2)
        return self.add("stem2", "conv_x2", 4, second, third, (step,), stride=2)

    def branch(self, branch: Branch, start: int) -> int:
        """Encoder, then decoder of one branch; returns the step that ends it at 1/8."""
        before: dict[int, int] = {}
        current = start
        for cell in branch.cells:
            if cell.stride == 2:
                before[cell.s] = current
            chi = self.architecture.head_chi if cell.chi is None else cell.chi
            current = self.add(
                cell_name(cell),
                cell.op,
                cell.s,
                self.width(current),
                cell.s * cell.stride * chi,
                (current,),
                stride=cell.stride,
            )
        return self.decoder(branch.s, current, before)

    def decoder(self, final: int, current: int, before: dict[int, int]) -> int:
        """Go up to 1/8 step by step; at each finer scale join the branch's own map from before its downsampling."""
        s = final
        while s > FINEST:
            finer = s // 2
            width = self.architecture.head_chi * finer
            reduced = self.add(f"branch{final}_reduce{s}", "reduce", s, self.width(current), width, (current,))
            side = before[finer]
            current = self.add(
                f"branch{final}_merge{finer}", MERGE, finer, width + self.width(side), width, (reduced, side)
            )
            s = finer
        return current

    def head(self, ends: tuple[int, ...]) -> None:
        architecture = self.architecture
        width = sum(self.width(end) for end in ends)
        step = self.add("fuse", "fuse", FINEST, width, width, ends, branches=len(ends))
        step = self.add("classify", "classify", FINEST, width, architecture.num_classes, (step,))
        if architecture.output == "full":
            classes = architecture.num_classes
            self.add("upsample", UPSAMPLE, FINEST, classes, classes, (step,))


def plan(architecture: Architecture, image: ImageSize, batch: int = 1) -> tuple[Step, ...]:
    """Every operator of a network in an order in which it can run.

    A cell is there once however many branches use it; nothing of the decoder is shared (Appendix A of FasterSeg).
    """
    planner = _Planner(architecture, image, batch)
    stem = planner.stem()
    planner.head(tuple(planner.branch(branch, stem) for branch in architecture.branches))
    return tuple(planner.steps)
