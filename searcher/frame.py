"""The lattice with the operators that its choices stand for, as plain data. No torch here."""

from __future__ import annotations

from latency_db.calibration import PairKey
from latency_db.keys import MERGE, ImageSize
from latency_db.lattice import Frame, LatticeSpecs, Merge
from searcher.lattice import FasterSegLattice
from searcher.surroundings import Assemble, Surroundings, surroundings


def lattice_specs(lattice: FasterSegLattice, assemble: Assemble, image: ImageSize, batch: int) -> LatticeSpecs:
    """The lattice with its operators.

    Args:
        lattice: the cells.
        assemble: makes an architecture of choices.
        image: network's input size.
        batch: images at once.
    """
    around = {finals: surroundings(lattice, assemble, finals, image, batch) for finals in lattice.branch_sets()}
    # The sets agree about what they share; together they have every scale.
    ends = {s: end for each in around.values() for s, end in each.ends.items()}
    return LatticeSpecs(
        lattice=lattice,
        image=image,
        batch=batch,
        source=next(iter(around.values())).source,
        last_widths={s: ends[s][0].c_out for s in lattice.scales},
        merges={s: merge for each in around.values() for s, merge in _merges(each).items()},
        consumers={s: (ends[s][1].op, ends[s][1].stride) for s in lattice.scales},
        frames={finals: _frame(each) for finals, each in around.items()},
    )


def _merges(around: Surroundings) -> dict[int, Merge]:
    """Per scale at which it happens. What comes up is fixed, what comes from the side is a choice."""
    return {two.s: Merge(two.op, one.c_out, two.c_out) for one, two in around.pairs if two.op == MERGE}


def _frame(around: Surroundings) -> Frame:
    return Frame(
        specs=tuple(spec for spec in around.specs.values() if spec.op != MERGE),
        pairs=tuple(PairKey.of(one, two) for one, two in around.pairs),
    )
