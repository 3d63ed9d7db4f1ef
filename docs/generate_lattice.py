"""Draw docs/images/lattice.svg: the lattice of cells, two branches walking back through it, and what each cell draws.

With --check nothing is written, and the exit code is 1 where the picture is not what this would draw.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

PICTURE = Path(__file__).resolve().parent / "images" / "lattice.svg"
LAYERS, SCALES = 7, (8, 16, 32)
LEFT, TOP, DX, DY, SIDE = 150, 62, 92, 92, 44
BRANCHES = {
    # (scale, layer) of every cell on the way, from the stem; the first three are shared.
    "#1f6feb": ((0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5), (1, 6)),
    "#d1242f": ((0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)),
}


def at(scale: int, layer: int) -> tuple[int, int]:
    """The middle of a cell."""
    return LEFT + layer * DX, TOP + scale * DY


def arrow(start: tuple[int, int], end: tuple[int, int], color: str, width: float, shift: float = 0.0) -> str:
    """A line from one cell's side to the next one's."""
    (x1, y1), (x2, y2) = start, end
    half = SIDE / 2
    return (
        f'<line x1="{x1 + half:g}" y1="{y1 + shift:g}" x2="{x2 - half:g}" y2="{y2 + shift:g}" '
        f'stroke="{color}" stroke-width="{width:g}" marker-end="url(#tip)"/>'
    )


def text(x: float, y: float, words: str, size: int = 13, anchor: str = "middle", style: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{style}>{words}</text>'


def picture() -> str:
    """The whole SVG."""
    width, height = LEFT + (LAYERS - 1) * DX + 130, TOP + 2 * DY + 150
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" fill="#1f2328">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for layer in range(LAYERS - 1):
        for scale in range(min(layer, 2) + 1):
            parts.append(arrow(at(scale, layer), at(scale, layer + 1), "#d0d7de", 1.5))
            if scale < 2:
                parts.append(arrow(at(scale, layer), at(scale + 1, layer + 1), "#d0d7de", 1.5))
    stem = (LEFT - DX, TOP)
    for number, (color, cells) in enumerate(BRANCHES.items()):
        shift = (number - 0.5) * 7
        parts.append(arrow(stem, at(*cells[0]), color, 3, shift))
        parts += [arrow(at(*one), at(*two), color, 3, shift) for one, two in pairwise(cells)]
    for layer in range(LAYERS):
        parts.append(text(at(0, layer)[0], TOP - 36, f"layer {layer}", 12, style=' fill="#57606a"'))
        for scale in range(min(layer, 2) + 1):
            x, y = at(scale, layer)
            used = any((scale, layer) in cells for cells in BRANCHES.values())
            fill, edge = ("#fff8c5", "#9a6700") if used else ("#f6f8fa", "#d0d7de")
            parts.append(
                f'<rect x="{x - SIDE / 2:g}" y="{y - SIDE / 2:g}" width="{SIDE}" height="{SIDE}" rx="6" '
                f'fill="{fill}" stroke="{edge}"/>'
            )
            parts.append(text(x, y + 5, "α β γ", 13))
    parts.append(
        f'<rect x="{stem[0] - SIDE / 2:g}" y="{stem[1] - SIDE / 2:g}" width="{SIDE}" height="{SIDE}" rx="6" '
        'fill="#ddf4ff" stroke="#0969da"/>'
    )
    parts.append(text(stem[0], stem[1] + 5, "stem"))
    for scale, s in enumerate(SCALES):
        parts.append(text(at(scale, LAYERS - 1)[0] + 34, TOP + scale * DY + 5, f"s = {s}", 13, "start"))
    notes = (
        "Every cell draws an operator from α, a predecessor from β (its own scale or the finer one), a width from γ.",
        "Branches start at their final cells and walk back; what they share from where they meet is paid once.",
        "An edge's cost: is it used (β of later layers) × its operator (α) × its width (γ) × what reaches it.",
    )
    parts += [text(20, TOP + 2 * DY + 66 + 24 * row, line, 13, "start") for row, line in enumerate(notes)]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        PICTURE.write_text(picture(), encoding="utf-8")
    elif not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != picture():
        sys.exit(f"{PICTURE.name} is not what generate_lattice.py draws: run `make docs`")


if __name__ == "__main__":
    main()
