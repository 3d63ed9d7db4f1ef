"""From logits to a network: the most likely choices (section 3.4 of FasterSeg), and the network's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

from torch import Tensor

from latency_db.errors import InputError
from latency_db.lattice import CellKey, Lattice
from searcher.elastic_operators import ElasticOperator, extract
from searcher.lattice import Choice, FasterSegLattice
from searcher.space import FasterSegSpace
from searcher.supernet import Supernet
from trainer.architecture import Architecture
from trainer.network import Network

_T = TypeVar("_T")


def derive(alpha: Tensor, beta: Tensor, gamma: Tensor, finals: Iterable[int], space: FasterSegSpace) -> Architecture:
    """The architecture of section 3.4: each cell's most likely operator and width, each branch's most likely positions.

    Of α and γ every cell takes the argmax over what it has, among equals the first. A branch downsamples where
    :func:`downsample_positions` says.

    Args:
        alpha: (L, S, O), logits (or probabilities: their argmax is the same).
        beta: (L, S, 2), logits: from the finer scale (0) or from the cell's own (1).
        gamma: (L, S, X), logits or probabilities.
        finals: the scales at which the branches end.
        space: the settings.

    Raises:
        InputError: a shape that is not the lattice's, a final scale that it does not have, or a number that is none.
    """
    lattice, ends = space.lattice, tuple(finals)
    # One choice of predecessor per cell serves all branches: they never disagree about a cell that two of them pass.
    # Branches that pass (s, l) enter scale s at a and b, both at or before l, and leave it after l. Each entered at the
    # latest maximum of the same scores among the layers before the one at which it leaves. The branch that leaves later
    # chose among all that the other chose among, and what it chose, not after l, is one of those: so a = b. From there
    # both go on to the same cell of the next finer scale, and the same holds for that.
    downsampled: dict[CellKey, bool] = {}
    for final in ends:
        positions = downsample_positions(beta, final, lattice)
        limits = (*positions, lattice.layers)
        for s, first, limit in zip(lattice.scales, (0, *positions), limits, strict=False):
            for layer in range(first, limit):
                downsampled[s, layer] = s != lattice.scales[0] and layer == first
    return _architecture(alpha, beta, gamma, ends, space, lambda cell: downsampled.get(cell, False))


def walk_back(alpha: Tensor, beta: Tensor, gamma: Tensor, finals: Iterable[int], space: FasterSegSpace) -> Architecture:
    """The architecture of every cell's most likely operator, width and predecessor: each β decided by itself.

    So it is the network whose prediction :class:`latency_db.relaxed.RelaxedLatency` gives for its ``one_hot`` of the
    same tensors. Where every β is decided (0 or 1) it is what :func:`derive` gives, too. Among equals the first.

    Args:
        alpha: (L, S, O), logits or probabilities.
        beta: (L, S, 2), from the finer scale (0) or from the cell's own (1).
        gamma: (L, S, X).
        finals: the scales at which the branches end.
        space: the settings.

    Raises:
        InputError: as :func:`derive`.
    """
    lattice = space.lattice

    def downsampled(cell: CellKey) -> bool:
        finer, own = beta[_place(lattice, cell)].tolist()
        return _first_best("beta", {True: finer, False: own}, lattice.predecessors(cell), cell)

    return _architecture(alpha, beta, gamma, tuple(finals), space, downsampled)


def downsample_positions(beta: Tensor, final: int, lattice: Lattice) -> tuple[int, ...]:
    """Where a branch downsamples: l_1 < … < l_k for a branch that ends k scales below the finest.

    At l_i the cell of scale number i takes its input from the next finer scale. Of all positions, the last layer
    included, they are those that maximize Π_i β⁰_{s_i,l_i} jointly (footnote 2 of FasterSeg), β⁰ being the softmax over
    the cell's two predecessors. Among equals the latest, as walking back from the branch's end finds them: the latest
    l_k, for it the latest l_{k-1}, and so on.

    The first cell of a scale (layer i of scale number i) has no predecessor of its own scale, hence no β. It counts as
    undecided, ½: so it is chosen exactly where every later cell prefers its own scale, which is where walking back
    reaches it.

    Args:
        beta: (L, S, 2), logits.
        final: the scale at which the branch ends.
        lattice: the cells.

    Raises:
        InputError: a shape that is not the lattice's, no such scale, or a logit that is no finite number.
    """
    _check("beta", beta, lattice, 2)
    if final not in lattice.scales:
        raise InputError(f"no branch ends at {final}; the scales are {', '.join(map(str, lattice.scales))}")
    # scores[i][l]: the largest sum of logs up to scale number i if it is entered at l. Exact fractions: what is equal
    # on paper must not depend on the order of a sum.
    scores: list[dict[int, Fraction]] = []
    for index in range(1, lattice.scales.index(final) + 1):
        best, row = Fraction(0), {}
        for layer in range(index, lattice.layers):
            if scores:
                before = scores[-1][layer - 1]
                best = before if layer == index else max(best, before)
            row[layer] = best + _log_finer(beta, layer, index)
        scores.append(row)
    positions: list[int] = []
    limit = lattice.layers
    for row in reversed(scores):
        limit = max((layer for layer in row if layer < limit), key=lambda layer: (row[layer], layer))
        positions.append(limit)
    return tuple(reversed(positions))


def _log_finer(beta: Tensor, layer: int, index: int) -> Fraction:
    """log β⁰ of the cell at scale number ``index``: log ½ in its first layer, where there is nothing to decide."""
    finer, own = (0.0, 0.0) if layer == index else beta[layer, index].tolist()
    margin = finer - own
    if not math.isfinite(margin):
        raise InputError(f"beta of layer {layer}, scale number {index} is {finer}, {own}: not two finite numbers")
    return Fraction(min(margin, 0.0) - math.log1p(math.exp(-abs(margin))))


def _architecture(
    alpha: Tensor,
    beta: Tensor,
    gamma: Tensor,
    finals: tuple[int, ...],
    space: FasterSegSpace,
    downsampled: Callable[[CellKey], bool],
) -> Architecture:
    """The most likely operators and widths; predecessors as told."""
    lattice = space.lattice
    for name, tensor, size in (
        ("alpha", alpha, len(lattice.ops)),
        ("beta", beta, 2),
        ("gamma", gamma, len(lattice.chis)),
    ):
        _check(name, tensor, lattice, size)
    if not finals or len(set(finals)) != len(finals) or not set(finals) <= set(lattice.scales):
        raise InputError(f"branches {list(finals)}: one or more of {', '.join(map(str, lattice.scales))}, each once")
    return space.architecture(
        {cell: _choice(alpha, gamma, lattice, cell, downsampled(cell)) for cell in lattice.cells()}, finals
    )


def _choice(alpha: Tensor, gamma: Tensor, lattice: FasterSegLattice, cell: CellKey, downsampled: bool) -> Choice:
    place = _place(lattice, cell)
    operators = dict(zip(lattice.ops, alpha[place].tolist(), strict=True))
    widths = dict(zip(lattice.chis, gamma[place].tolist(), strict=True))
    return Choice(
        op=_first_best("alpha", operators, lattice.operators(cell), cell),
        chi=None if lattice.is_last(cell) else _first_best("gamma", widths, lattice.chis, cell),
        downsampled=downsampled,
    )


def _first_best(name: str, values: Mapping[_T, float], offered: Sequence[_T], cell: CellKey) -> _T:
    if any(math.isnan(values[one]) for one in offered):
        raise InputError(f"{name} of the cell at layer {cell[1]}, s = {cell[0]} is not a number")
    return max(offered, key=values.__getitem__)


def _place(lattice: Lattice, cell: CellKey) -> tuple[int, int]:
    """Where the cell is in a tensor: (layer, scale's number)."""
    return cell[1], lattice.scales.index(cell[0])


def _check(name: str, tensor: Tensor, lattice: Lattice, size: int) -> None:
    shape = lattice.layers, len(lattice.scales), size
    if tuple(tensor.shape) != shape:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}, not {shape}")


def network_with_weights(supernet: Supernet, architecture: Architecture) -> Network:
    """The network of an architecture with a copy of the weights that the supernet uses for it, in eval mode.

    It gives the logits that the supernet gives for that choice, if every skip at stride 1 keeps the width of its cell.
    (A skip that vanishes passes on the width that reached it; in the supernet it cuts or pads to its cell's own.)

    Raises:
        ValueError: the supernet lacks a cell, a width or the branch set of the architecture, or differs in what
            surrounds the cells.
    """
    space = supernet.space
    for name in ("stem_widths", "head_chi", "num_classes"):
        if getattr(architecture, name) != getattr(space, name):
            raise ValueError(
                f"the architecture's {name} is {getattr(architecture, name)}, the supernet's {getattr(space, name)}"
            )
    finals = tuple(branch.s for branch in architecture.branches)
    network = Network(architecture).to(next(supernet.parameters()).device)
    for step in network.steps:
        if step.name in network.operators:
            source = supernet.operator(step, finals)
            if isinstance(source, ElasticOperator):
                source = extract(source, step.spec.c_in, step.spec.c_out)
            network.operators[step.name].load_state_dict(source.state_dict())
    return network.eval()
