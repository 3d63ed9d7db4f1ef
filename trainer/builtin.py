"""Architectures that come with the package."""

from __future__ import annotations

from trainer.architecture import Architecture, Branch, Cell


def _branch(*cells: tuple[int, int, int, str, int | None]) -> Branch:
    return Branch(
        cells=tuple(Cell(layer=layer, s=s, stride=stride, op=op, chi=chi) for layer, s, stride, op, chi in cells)
    )


_SHARED = ((0, 8, 1, "conv_x2", 4), (1, 8, 1, "conv_x2", 4), (2, 8, 1, "zoomed_conv_x2", 4))

_TO_32 = _branch(
    *_SHARED,
    (3, 8, 2, "zoomed_conv", 8),
    (4, 16, 1, "zoomed_conv_x2", 4),
    (5, 16, 1, "zoomed_conv_x2", 4),
    (6, 16, 1, "zoomed_conv_x2", 4),
    (7, 16, 2, "zoomed_conv_x2", 4),
    (8, 32, 1, "zoomed_conv_x2", 4),
    (15, 32, 1, "zoomed_conv_x2", None),
)
_ALONG_8 = (*_SHARED, (4, 8, 1, "zoomed_conv_x2", 4), (5, 8, 1, "conv_x2", 4))

FASTERSEG_STUDENT = Architecture(
    branches=(
        _TO_32,
        _branch(
            *_ALONG_8,
            (6, 8, 2, "conv_x2", 4),
            (7, 16, 1, "zoomed_conv_x2", 4),
            (8, 16, 1, "zoomed_conv_x2", 12),
            (15, 16, 1, "zoomed_conv_x2", None),
        ),
    )
)
"""FasterSeg's student, Table 7 of the paper, branches 32 and 16.

Table 7 lists for a cell that downsamples the width s · χ; the cell's output is twice that (c_out = s · stride · χ).
"""

FASTERSEG_STUDENT_32_8 = Architecture(
    branches=(
        _TO_32,
        _branch(
            *_ALONG_8,
            (6, 8, 1, "conv_x2", 4),
            (7, 8, 1, "zoomed_conv_x2", 4),
            (8, 8, 1, "conv_x2", 12),
            (15, 8, 1, "zoomed_conv_x2", None),
        ),
    )
)
"""What the same search gives for branches 32 and 8, by the result that its authors published."""

BUILTIN: dict[str, Architecture] = {
    "fasterseg-student": FASTERSEG_STUDENT,
    "fasterseg-student-32-8": FASTERSEG_STUDENT_32_8,
}
