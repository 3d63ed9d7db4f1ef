"""A discrete network of the FasterSeg space: frozen, checked, JSON. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

CELL_OPERATORS = ("skip", "conv", "conv_x2", "zoomed_conv", "zoomed_conv_x2")
"""The operators that a cell chooses from (section 3.1.2)."""
OUTPUTS = ("1/8", "full")
FORMAT = "latency-db/architecture"
FORMAT_VERSION = 1
WIDEST = 1_000_000
"""No sensible width comes near; beyond it, sizes would leave what tensors and databases can count."""
FINEST = 8
"""The stem brings the image down to 1/8: the finest scale of the lattice."""


class ArchitectureError(ValueError):
    """A document or a set of values that is no architecture; the message says where and why."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a branch.

    Attributes:
        layer: its layer in the lattice, from 0.
        s: downsample rate of its input.
        stride: 1, or 2 where the branch downsamples here.
        op: one of :data:`CELL_OPERATORS`.
        chi: expansion ratio χ; the output has s · stride · χ channels. ``None`` in a branch's last cell, which emits
            the head's width.
    """

    layer: int
    s: int
    stride: int
    op: str
    chi: int | None

    @property
    def place(self) -> tuple[int, int, int]:
        """(layer, s, stride): branches that have a cell here share it."""
        return self.layer, self.s, self.stride


@dataclass(frozen=True, kw_only=True)
class Branch:
    """The cells of one branch in order; its final downsample rate is the last cell's."""

    cells: tuple[Cell, ...]

    @property
    def s(self) -> int:
        """The final downsample rate."""
        return self.cells[-1].s


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A whole network.

    Attributes:
        branches: one or more, each from the stem to its final cell. Cells of the same layer, s and stride are one.
        stem_widths: channels after each of the stem's three stages.
        head_chi: χ_h; the decoder works at χ_h · s channels.
        num_classes: channels of the logits.
        output: ``"1/8"``: logits at 1/8 of the image; ``"full"``: upsampled to the image's size.
    """

    branches: tuple[Branch, ...]
    stem_widths: tuple[int, int, int] = (32, 64, 64)
    head_chi: int = 8
    num_classes: int = 19
    output: str = "1/8"

    def __post_init__(self) -> None:
        _check(self)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_json` reads them back."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "stem_widths": list(self.stem_widths),
            "head_chi": self.head_chi,
            "num_classes": self.num_classes,
            "output": self.output,
            "branches": [{"s": branch.s, "cells": [asdict(cell) for cell in branch.cells]} for branch in self.branches],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Architecture:
        """Read :meth:`to_json`'s output. A stride-1 skip is accepted and vanishes.

        Raises:
            ArchitectureError: where and why the document is none.
        """
        if not isinstance(document, Mapping):
            raise ArchitectureError("an architecture is a JSON object")
        if document.get("format") != FORMAT:
            raise ArchitectureError(f'not an architecture: "format" is {document.get("format")!r}, not {FORMAT!r}')
        if not _is_int(document.get("version")) or document["version"] != FORMAT_VERSION:
            raise ArchitectureError(
                f'"version" is {document.get("version")!r}; this release reads version {FORMAT_VERSION}'
            )
        stem = _get(document, "stem_widths", list, "the architecture")
        if len(stem) != 3 or not all(_is_int(width) for width in stem):
            raise ArchitectureError("stem_widths is not a list of three whole numbers")
        return cls(
            branches=tuple(
                _read_branch(branch, f"branches[{index}]")
                for index, branch in enumerate(_get(document, "branches", list, "the architecture"))
            ),
            stem_widths=(stem[0], stem[1], stem[2]),
            head_chi=_get(document, "head_chi", int, "the architecture"),
            num_classes=_get(document, "num_classes", int, "the architecture"),
            output=_get(document, "output", str, "the architecture"),
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _get(document: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in document:
        raise ArchitectureError(f"{where} has no {key!r}")
    value = document[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ArchitectureError(f"{where}: {key} is {value!r}, not {kind.__name__}")
    return value


def _read_branch(document: object, where: str) -> Branch:
    if not isinstance(document, Mapping):
        raise ArchitectureError(f"{where} is not an object")
    cells = [
        _read_cell(cell, f"{where}.cells[{index}]") for index, cell in enumerate(_get(document, "cells", list, where))
    ]
    kept = tuple(cell for cell in cells if not (cell.op == "skip" and cell.stride == 1))
    branch = Branch(cells=kept)
    if not kept:
        raise ArchitectureError(f"{where} has no cell")
    declared = _get(document, "s", int, where)
    if declared != branch.s:
        raise ArchitectureError(f"{where}: s is {declared} but its last cell is at {branch.s}")
    return branch


def _read_cell(document: object, where: str) -> Cell:
    if not isinstance(document, Mapping):
        raise ArchitectureError(f"{where} is not an object")
    chi = document.get("chi")
    if chi is not None and not _is_int(chi):
        raise ArchitectureError(f"{where}: chi is {chi!r}, not a whole number or null")
    return Cell(
        layer=_get(document, "layer", int, where),
        s=_get(document, "s", int, where),
        stride=_get(document, "stride", int, where),
        op=_get(document, "op", str, where),
        chi=chi,
    )


def _check(architecture: Architecture) -> None:
    if not architecture.branches:
        raise ArchitectureError("an architecture has at least one branch")
    rates = [branch.s for branch in architecture.branches if branch.cells]
    if len(set(rates)) != len(architecture.branches):
        raise ArchitectureError(f"branches end at {rates}: every branch ends at a downsample rate of its own")
    numbers = (*architecture.stem_widths, architecture.head_chi, architecture.num_classes)
    if min(numbers) < 1 or max(numbers) > WIDEST:
        raise ArchitectureError(f"stem_widths, head_chi and num_classes are positive and at most {WIDEST}")
    if architecture.output not in OUTPUTS:
        raise ArchitectureError(f"output is {architecture.output!r}, not one of {', '.join(OUTPUTS)}")
    for index, branch in enumerate(architecture.branches):
        _check_branch(branch, f"branches[{index}]")
    _check_sharing(architecture.branches)


def _check_branch(branch: Branch, where: str) -> None:
    if not branch.cells:
        raise ArchitectureError(f"{where} has no cell")
    s, layer = FINEST, -1
    for index, cell in enumerate(branch.cells):
        here = f"{where}.cells[{index}]"
        if cell.op not in CELL_OPERATORS:
            raise ArchitectureError(f"{here}: op is {cell.op!r}, not one of {', '.join(CELL_OPERATORS)}")
        if cell.stride not in (1, 2):
            raise ArchitectureError(f"{here}: stride is {cell.stride}, not 1 or 2")
        if cell.layer <= layer:
            raise ArchitectureError(f"{here}: layer {cell.layer} does not come after layer {layer}")
        if cell.s != s:
            raise ArchitectureError(f"{here}: s is {cell.s}, but the branch is at {s} there")
        last = index == len(branch.cells) - 1
        if last and (cell.chi is not None or cell.stride != 1 or cell.op == "skip"):
            raise ArchitectureError(
                f"{here}: the last cell emits the head's width at stride 1: chi is null and it is no skip"
            )
        if not last and (cell.chi is None or not 1 <= cell.chi <= WIDEST):
            raise ArchitectureError(f"{here}: chi is {cell.chi!r}, not a positive whole number up to {WIDEST}")
        if cell.op == "skip" and cell.stride == 1:
            raise ArchitectureError(f"{here}: a skip at stride 1 vanishes and is not listed")
        s, layer = s * cell.stride, cell.layer


def _check_sharing(branches: tuple[Branch, ...]) -> None:
    """Branches that share a cell share everything before it: they come from walking back, and have met there."""
    prefixes: dict[tuple[int, int, int], tuple[Cell, ...]] = {}
    for branch in branches:
        for index, cell in enumerate(branch.cells):
            prefix = branch.cells[: index + 1]
            known = prefixes.setdefault(cell.place, prefix)
            if known != prefix:
                raise ArchitectureError(
                    f"branches share the cell at layer {cell.layer}, s {cell.s}, stride {cell.stride}, "
                    "but not all that comes before and in it"
                )
