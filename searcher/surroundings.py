"""What surrounds the cells of a FasterSeg network, whatever they choose: stem, decoder, head. No torch here.

:func:`trainer.plan.plan` is what defines it; here it is read off the plan of a representative architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from latency_db.keys import ImageSize, OpSpec
from latency_db.lattice import CellKey
from searcher.lattice import Choice, FasterSegLattice
from trainer.architecture import Architecture
from trainer.plan import Step, plan

Assemble = Callable[[Mapping[CellKey, Choice], Iterable[int]], Architecture]
"""From choices and final scales to an architecture: :meth:`searcher.space.FasterSegSpace.architecture`."""


@dataclass(frozen=True)
class Surroundings:
    """What surrounds the cells of every architecture that ends at one set of scales.

    Attributes:
        specs: operators by step, in an order in which they can run. A merge is wide enough for the side of the
            representative; which width that has is a choice.
        pairs: the operators of adjacent steps, in so far as no choice decides that they are adjacent.
        source: what feeds the first layer.
        ends: per final scale, its last cell and what takes that cell's output.
    """

    specs: Mapping[str, OpSpec]
    pairs: tuple[tuple[OpSpec, OpSpec], ...]
    source: OpSpec
    ends: Mapping[int, tuple[OpSpec, OpSpec]]


def surroundings(
    lattice: FasterSegLattice, assemble: Assemble, finals: Iterable[int], image: ImageSize, batch: int = 1
) -> Surroundings:
    """What surrounds the cells of the architectures that end at ``finals``.

    Args:
        lattice: the cells.
        assemble: makes an architecture of choices.
        finals: the scales at which the branches end.
        image: network's input size.
        batch: images at once.
    """
    steps = plan(assemble(_representative(lattice), finals), image, batch)
    edges = [(source, step) for step in steps for source in (steps[index] for index in step.inputs if index >= 0)]
    (start,) = {source.name: source for source, step in edges if _is_cell(step) and not _is_cell(source)}.values()
    # What the stem feeds depends on where a branch downsamples: in layer 0, its own map is what the decoder joins.
    fixed = [(one, two) for one, two in edges if not _is_cell(one) and not _is_cell(two) and one is not start]
    feed_cells = {source.name for source, step in edges if _is_cell(step)}
    return Surroundings(
        specs={step.name: step.spec for step in steps if not _is_cell(step)},
        pairs=tuple((one.spec, two.spec) for one, two in fixed),
        source=start.spec,
        ends={one.spec.s: (one.spec, two.spec) for one, two in edges if _is_cell(one) and one.name not in feed_cells},
    )


def _representative(lattice: FasterSegLattice) -> dict[CellKey, Choice]:
    """Cells that are all there: a skip might vanish."""
    return {
        cell: Choice(
            op="conv",
            chi=None if lattice.is_last(cell) else max(lattice.chis),
            downsampled=lattice.predecessors(cell)[0],
        )
        for cell in lattice.cells()
    }


def _is_cell(step: Step) -> bool:
    return step.name.startswith("cell_")
