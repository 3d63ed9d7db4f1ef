"""An architecture with something taken from it: the rows of Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latency_db.errors import InputError
from trainer.architecture import Architecture, Branch


def keep_branches(architecture: Architecture, rates: Sequence[int]) -> Architecture:
    """Only the branches that end at these downsample rates.

    Raises:
        InputError: there is no such branch.
    """
    there = {branch.s: branch for branch in architecture.branches}
    for rate in rates:
        if rate not in there:
            ends = ", ".join(str(s) for s in sorted(there))
            raise InputError(f"the architecture has no branch that ends at 1/{rate}: they end at {ends}")
    return replace(architecture, branches=tuple(branch for branch in architecture.branches if branch.s in rates))


def fix_chi(architecture: Architecture, chi: int) -> Architecture:
    """Every cell at the same expansion ratio; a branch's last cell keeps the head's width."""
    return replace(
        architecture,
        branches=tuple(
            Branch(cells=tuple(cell if cell.chi is None else replace(cell, chi=chi) for cell in branch.cells))
            for branch in architecture.branches
        ),
    )
