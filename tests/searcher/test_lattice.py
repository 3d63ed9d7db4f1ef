"""The lattice: which cells there are, how branches walk back through it, and that sampling is uniform."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from scipy import stats

from searcher.lattice import CellKey, Choice, FasterSegLattice
from trainer.architecture import Cell

LATTICE = FasterSegLattice(16, (8, 16, 32), (4, 6, 8, 10, 12), 2)


def draws(count: int = 3000) -> list[tuple[dict[CellKey, Choice], tuple[int, ...]]]:
    rng = random.Random(42)
    return [LATTICE.sample(rng) for _ in range(count)]


DRAWS = draws()


@pytest.mark.parametrize(("layers", "scales", "count"), [(16, 3, 16 + 15 + 14), (4, 2, 4 + 3), (3, 3, 3 + 2 + 1)])
def test_a_scale_exists_from_where_it_can_first_be_reached(layers: int, scales: int, count: int) -> None:
    lattice = FasterSegLattice(layers, (8, 16, 32)[:scales], (4,), 1)
    cells = lattice.cells()
    assert len(cells) == len(set(cells)) == count
    assert all(layer >= lattice.scales.index(s) for s, layer in cells)


def test_operators_of_a_cell() -> None:
    assert LATTICE.operators((8, 0)) == ("skip", "conv", "conv_x2", "zoomed_conv", "zoomed_conv_x2")
    assert LATTICE.operators((8, 15)) == ("conv", "conv_x2", "zoomed_conv", "zoomed_conv_x2")


def test_predecessors_of_a_cell() -> None:
    assert LATTICE.predecessors((8, 0)) == LATTICE.predecessors((8, 9)) == (False,)
    assert LATTICE.predecessors((16, 1)) == (True,)
    assert set(LATTICE.predecessors((16, 2))) == {True, False}
    assert LATTICE.predecessors((32, 2)) == (True,)
    assert set(LATTICE.predecessors((32, 3))) == {True, False}


def paths(lattice: FasterSegLattice, cell: CellKey) -> Iterator[tuple[CellKey, ...]]:
    """Every way back from a cell to the stem."""
    s, layer = cell
    if layer == 0:
        yield (cell,)
        return
    for downsampled in lattice.predecessors(cell):
        for path in paths(lattice, (s // 2 if downsampled else s, layer - 1)):
            yield (*path, cell)


def test_there_are_as_many_paths_as_the_paper_counts() -> None:
    existing = set(LATTICE.cells())
    counts = {}
    for s in LATTICE.scales:
        found = list(paths(LATTICE, (s, 15)))
        assert len(found) == len(set(found))
        assert all(set(path) <= existing for path in found)
        counts[s] = len(found)
    assert counts == {8: 1, 16: 15, 32: 105}
    assert sum(math.prod(counts[s] for s in pair) for pair in LATTICE.branch_sets()) == 1695


def test_branch_sets() -> None:
    assert LATTICE.branch_sets() == ((8, 16), (8, 32), (16, 32))
    assert FasterSegLattice(4, (8, 16, 32), (4,), 3).branch_sets() == ((8, 16, 32),)


def test_walking_back_follows_each_cells_choice() -> None:
    lattice = FasterSegLattice(4, (8, 16), (4, 6), 1)
    choices = {cell: Choice("conv", None if cell[1] == 3 else 4, False) for cell in lattice.cells()}
    choices[8, 1] = Choice("zoomed_conv", 6, False)
    choices[16, 2] = Choice("conv_x2", 4, True)
    assert lattice.walk_back(choices, 16).cells == (
        Cell(layer=0, s=8, stride=1, op="conv", chi=4),
        Cell(layer=1, s=8, stride=2, op="zoomed_conv", chi=6),
        Cell(layer=2, s=16, stride=1, op="conv_x2", chi=4),
        Cell(layer=3, s=16, stride=1, op="conv", chi=None),
    )
    # The same cell of the lattice, with the same operator and width, at its other stride.
    assert lattice.walk_back(choices, 8).cells[1] == Cell(layer=1, s=8, stride=1, op="zoomed_conv", chi=6)


def test_a_skip_vanishes_at_stride_1_only() -> None:
    lattice = FasterSegLattice(3, (8, 16), (4,), 1)
    choices = {cell: Choice("skip", 4, False) for cell in lattice.cells() if cell[1] < 2}
    choices |= {(8, 2): Choice("conv", None, False), (16, 2): Choice("conv", None, False)}
    choices[16, 1] = Choice("skip", 4, True)
    assert [cell.place for cell in lattice.walk_back(choices, 8).cells] == [(2, 8, 1)]
    assert [cell.place for cell in lattice.walk_back(choices, 16).cells] == [(0, 8, 2), (2, 16, 1)]


def assert_uniform(values: Sequence[object], options: Sequence[object]) -> None:
    """Neither more uneven than chance allows, nor suspiciously even."""
    counts = Counter(values)
    assert set(counts) == set(options)
    if len(options) == 1:
        return
    p = stats.chisquare([counts[option] for option in options]).pvalue
    # About 200 such checks are made, with one seed: at 1e-5 each, a fair sampler fails one in five hundred times.
    assert p > 1e-5, counts


def test_every_cell_is_in_every_draw() -> None:
    assert all(set(choices) == set(LATTICE.cells()) for choices, _ in DRAWS)


def test_operators_are_drawn_uniformly_in_every_cell() -> None:
    for cell in LATTICE.cells():
        assert_uniform([choices[cell].op for choices, _ in DRAWS], LATTICE.operators(cell))


def test_widths_are_drawn_uniformly_where_there_is_one() -> None:
    for cell in LATTICE.cells():
        drawn = [choices[cell].chi for choices, _ in DRAWS]
        if LATTICE.is_last(cell):
            assert set(drawn) == {None}
        else:
            assert_uniform(drawn, LATTICE.chis)


def test_predecessors_are_drawn_uniformly_in_every_cell() -> None:
    for cell in LATTICE.cells():
        assert_uniform([choices[cell].downsampled for choices, _ in DRAWS], LATTICE.predecessors(cell))


def test_branch_sets_are_equally_likely() -> None:
    assert_uniform([finals for _, finals in DRAWS], LATTICE.branch_sets())


def test_choices_are_independent_of_each_other() -> None:
    pairs = [(choices[16, 5].op, choices[16, 5].downsampled) for choices, _ in DRAWS]
    assert_uniform(pairs, list(itertools.product(LATTICE.operators((16, 5)), (True, False))))
    pairs = [(choices[8, 3].op, choices[8, 4].op) for choices, _ in DRAWS]
    assert_uniform(pairs, list(itertools.product(LATTICE.operators((8, 3)), repeat=2)))
    sets = [(choices[16, 9].downsampled, finals) for choices, finals in DRAWS]
    assert_uniform(sets, list(itertools.product((True, False), LATTICE.branch_sets())))


def test_branches_that_meet_share_everything_before() -> None:
    met = 0
    for choices, finals in DRAWS[:500]:
        first, second = (LATTICE.walk_back(choices, final).cells for final in finals)
        places = {cell.place: index for index, cell in enumerate(first)}
        for index, cell in enumerate(second):
            if cell.place in places:
                met += 1
                assert first[: places[cell.place] + 1] == second[: index + 1]
    assert met > 500, "hardly any branches met: nothing was checked"
