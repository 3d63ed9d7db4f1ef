"""A discrete architecture as a draw of the supernet."""

from __future__ import annotations

import torch

from latency_db.lattice import Lattice
from searcher.draw import Draw
from trainer.architecture import Architecture, Branch


def draw_of(architecture: Architecture, lattice: Lattice) -> Draw:
    """What the supernet runs to be this network.

    A skip that vanished is the skip of its cell at the width that reaches it. (Where the stem's is no χ · s, at the
    next wider: it is padded with zeros.) Cells that the network does not visit do not run, whatever stands for them.

    Args:
        architecture: of the lattice's space.
        lattice: the cells.

    Returns:
        One-hot α (L, S, O), β (L, S, 2), γ (L, S, X).

    Raises:
        ValueError: the architecture has a cell, an operator or a width that the lattice does not have.
    """
    shape = lattice.layers, len(lattice.scales)
    alpha = torch.zeros(*shape, dtype=torch.long) + lattice.ops.index(_any_operator(lattice))
    beta = torch.ones(*shape, dtype=torch.long)
    gamma = torch.zeros(*shape, dtype=torch.long)
    for branch in architecture.branches:
        for layer, s, op, chi, finer in _cells(branch, architecture.stem_widths[2], lattice):
            place = layer, _index(lattice.scales, s, "scale")
            alpha[place] = _index(lattice.ops, op, "operator")
            beta[place] = 0 if finer else 1
            gamma[place] = 0 if chi is None else _index(lattice.chis, chi, "expansion ratio")
    dtype = torch.get_default_dtype()
    return Draw(
        torch.nn.functional.one_hot(alpha, len(lattice.ops)).to(dtype),
        torch.nn.functional.one_hot(beta, 2).to(dtype),
        torch.nn.functional.one_hot(gamma, len(lattice.chis)).to(dtype),
    )


def _cells(branch: Branch, stem_width: int, lattice: Lattice) -> list[tuple[int, int, str, int | None, bool]]:
    """(layer, s, operator, χ, whether the input comes from the finer scale) of every layer, skips too."""
    by_layer = {cell.layer: cell for cell in branch.cells}
    found: list[tuple[int, int, str, int | None, bool]] = []
    s, width, finer = lattice.scales[0], stem_width, False
    for layer in range(lattice.layers):
        cell = by_layer.get(layer)
        if cell is None:
            if lattice.skip is None:
                raise ValueError(f"the architecture has no cell in layer {layer}, and the lattice has no skip")
            found.append((layer, s, lattice.skip, _chi_of(width, s, lattice), finer))
            finer = False
            continue
        if cell.s != s:
            raise ValueError(f"the cell in layer {layer} is at scale {cell.s}, not {s}")
        found.append((layer, s, cell.op, cell.chi, finer))
        finer = cell.stride == 2
        if cell.chi is not None:
            width = cell.chi * s * cell.stride
        s *= cell.stride
    if max(by_layer) != lattice.layers - 1:
        raise ValueError(f"the architecture has {max(by_layer) + 1} layers, the lattice {lattice.layers}")
    return found


def _chi_of(width: int, s: int, lattice: Lattice) -> int:
    wide_enough = [chi for chi in lattice.chis if chi * s >= width]
    return min(wide_enough) if wide_enough else max(lattice.chis)


def _any_operator(lattice: Lattice) -> str:
    return next(op for op in lattice.ops if op != lattice.skip)


def _index(values: tuple[int, ...] | tuple[str, ...], value: int | str, what: str) -> int:
    if value not in values:
        raise ValueError(f"the lattice has no {what} {value}")
    return list(values).index(value)
