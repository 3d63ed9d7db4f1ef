"""Where everything goes in the picture of an architecture. No matplotlib here.

Scales are rows, fine to coarse, layers with a cell are columns. In a row every branch that is there has a track of its
own, and what several share is on the track of the finest of them: so no line of a branch runs through another's cell.
All lengths are in inches, y upwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from trainer.architecture import FINEST, Architecture, Branch, Cell

BOX, HIGH, GAP = 0.72, 0.42, 0.26
"""Width and height of a box, and the room between two columns."""
PITCH = BOX + GAP
TRACK = 0.64
ROW_PAD = 0.1
LEFT, TOP, BOTTOM = 0.55, 0.34, 0.42
NAMES = {"skip": "skip", "conv": "conv", "conv_x2": "conv ×2", "zoomed_conv": "zoomed", "zoomed_conv_x2": "zoomed ×2"}

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box with text.

    Attributes:
        x: its left edge.
        y: its middle.
        text: its lines.
        finals: the branches that pass it, by their final scales; none: it is not searched.
        width: how wide.
        height: how high.
    """

    x: float
    y: float
    text: tuple[str, ...]
    finals: tuple[int, ...] = ()
    width: float = BOX
    height: float = HIGH

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width


@dataclass(frozen=True)
class Line:
    """Straight pieces that end in an arrow; ``side`` where they take a map past a downsampling to the decoder."""

    points: tuple[Point, ...]
    finals: tuple[int, ...]
    side: bool = False


@dataclass
class Layout:
    """The whole picture.

    Attributes:
        boxes: all boxes.
        lines: all lines.
        rows: per scale its lower and upper edge.
        columns: the layers' middles and numbers; None stands for layers without a cell.
        width: of the picture.
        height: of the picture.
    """

    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rows: dict[int, tuple[float, float]] = field(default_factory=dict)
    columns: list[tuple[float, int | None]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def lay_out(architecture: Architecture) -> Layout:
    """Place everything."""
    return _Placer(architecture).place()


class _Placer:
    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.branches = sorted(architecture.branches, key=lambda branch: branch.s)
        self.users: dict[tuple[int, int, int], tuple[int, ...]] = {}
        for branch in self.branches:
            for cell in branch.cells:
                self.users[cell.place] = (*self.users.get(cell.place, ()), branch.s)
        layers = sorted({layer for layer, _, _ in self.users})
        self.layout = Layout()
        self.column = {layer: LEFT + (index + 1) * PITCH for index, layer in enumerate(layers)}
        for before, layer in zip([None, *layers], layers, strict=False):
            if layer - (-1 if before is None else before) > 1:
                self.layout.columns.append((self.column[layer] - GAP / 2, None))
            self.layout.columns.append((self.column[layer] + BOX / 2, layer))
        self.decoder = LEFT + (len(layers) + 1) * PITCH
        self.track = self._tracks()

    def _tracks(self) -> dict[tuple[int, int], float]:
        """(scale, final scale of the branch) → y."""
        scales = [FINEST * 2**index for index in range((self.branches[-1].s // FINEST).bit_length())]
        on_row: dict[int, set[int]] = {s: set() for s in scales}
        for (_, s, _), finals in self.users.items():
            on_row[s].add(finals[0])
        for branch in self.branches:
            for s in scales:
                if s < branch.s:
                    # Its decoder comes by here.
                    on_row[s].add(branch.s)
        height = TOP + BOTTOM + sum(len(each) * TRACK + 2 * ROW_PAD for each in on_row.values())
        y, found = height - TOP, {}
        for s, branches in on_row.items():
            low = y - len(branches) * TRACK - 2 * ROW_PAD
            self.layout.rows[s] = low, y
            for index, final in enumerate(sorted(branches)):
                found[s, final] = y - ROW_PAD - (index + 0.5) * TRACK
            y = low
        self.layout.height = height
        return found

    def place(self) -> Layout:
        stem = self._stem()
        boxes = {cell.place: self._cell(cell) for branch in self.branches for cell in branch.cells}
        self.layout.boxes += [stem, *boxes.values()]
        ways: dict[tuple[Box, Box], list[int]] = {}
        ends = []
        for branch in self.branches:
            passed = [stem, *(boxes[cell.place] for cell in branch.cells)]
            for one, two in pairwise(passed):
                ways.setdefault((one, two), []).append(branch.s)
            ends.append(self._decode(branch, boxes))
        for (one, two), finals in ways.items():
            self._join(one, two, finals)
        self._head(ends)
        return self.layout

    def _stem(self) -> Box:
        first = min(final for s, final in self.track if s == FINEST)
        widths = " ".join(map(str, self.architecture.stem_widths))
        return Box(LEFT, self.track[FINEST, first], ("stem", widths))

    def _cell(self, cell: Cell) -> Box:
        chi = self.architecture.head_chi if cell.chi is None else cell.chi
        finals = self.users[cell.place]
        text = NAMES[cell.op], f"χ {chi} · {chi * cell.s * cell.stride}"
        return Box(self.column[cell.layer], self.track[cell.s, finals[0]], text, finals)

    def _join(self, one: Box, two: Box, finals: Iterable[int]) -> None:
        turn = one.right + 0.4 * GAP
        between = () if one.y == two.y else ((turn, one.y), (turn, two.y))
        self.layout.lines.append(Line(((one.right, one.y), *between, (two.x, two.y)), tuple(finals)))

    def _decode(self, branch: Branch, boxes: dict[tuple[int, int, int], Box]) -> Box:
        """The branch's way up; returns the box that it ends in."""
        chi, final = self.architecture.head_chi, (branch.s,)
        end = boxes[branch.cells[-1].place]
        halving = {cell.s: boxes[cell.place] for cell in branch.cells if cell.stride == 2}
        s, number = branch.s // 2, 0
        while s >= FINEST:
            y = self.track[s, branch.s]
            merge = Box(self.decoder + number * PITCH, y, ("merge", str(chi * s)), final)
            middle = merge.x + BOX / 2
            self.layout.boxes.append(merge)
            self.layout.lines += [
                Line(((end.right, end.y), (middle, end.y), (middle, y - HIGH / 2)), final),
                self._side(halving[s], merge, final),
            ]
            end, s, number = merge, s // 2, number + 1
        return end

    def _side(self, cell: Box, merge: Box, final: tuple[int, ...]) -> Line:
        """From before the cell over it and along the branch's own track, which is free from there on."""
        # Branches that downsample in the same cell keep apart.
        apart = cell.finals.index(final[0])
        above = cell.y + cell.height / 2 + 0.06 + 0.045 * apart
        start, turn = cell.x - 0.48 * GAP, cell.right + (0.7 + 0.15 * apart) * GAP
        points = (start, cell.y), (start, above), (turn, above), (turn, merge.y), (merge.x, merge.y)
        return Line(points, final, side=True)

    def _head(self, ends: list[Box]) -> None:
        architecture, layout = self.architecture, self.layout
        x = self.decoder + (len(layout.rows) - 1) * PITCH
        low, high = min(end.y for end in ends), max(end.y for end in ends)
        middle = (low + high) / 2
        width = architecture.head_chi * FINEST * len(ends)
        fuse = Box(x, middle, ("fuse", str(width)), height=high - low + HIGH)
        boxes = [fuse, Box(x + PITCH, middle, ("classify", str(architecture.num_classes)))]
        if architecture.output == "full":
            boxes.append(Box(x + 2 * PITCH, middle, ("upsample", "1/1")))
        for end, branch in zip(ends, self.branches, strict=True):
            layout.lines.append(Line(((end.right, end.y), (fuse.x, end.y)), (branch.s,)))
        for one, two in pairwise(boxes):
            layout.lines.append(Line(((one.right, one.y), (two.x, two.y)), ()))
        layout.boxes += boxes
        layout.width = boxes[-1].right + 0.2
