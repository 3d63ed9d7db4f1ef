"""From probabilities to a network: the most likely choices, walked back (section 3.4 of FasterSeg), and its weights."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from searcher.elastic_operators import ElasticOperator, extract
from searcher.lattice import Choice
from searcher.space import FasterSegSpace
from searcher.supernet import Supernet
from trainer.architecture import Architecture
from trainer.network import Network


def derive(alpha: Tensor, beta: Tensor, gamma: Tensor, finals: Iterable[int], space: FasterSegSpace) -> Architecture:
    """The architecture of every cell's most likely operator, predecessor and width.

    What a cell does not have is not chosen, however likely: so it is the network whose prediction
    :class:`latency_db.relaxed.RelaxedLatency` gives for its ``one_hot`` of the same tensors. Among equals the first.

    Args:
        alpha: (L, S, O), logits or probabilities.
        beta: (L, S, 2), from the finer scale (0) or from the cell's own (1).
        gamma: (L, S, X).
        finals: the scales at which the branches end.
        space: the settings.
    """
    lattice = space.lattice
    choices = {}
    for cell in lattice.cells():
        place = cell[1], lattice.scales.index(cell[0])
        operators = dict(zip(lattice.ops, alpha[place].tolist(), strict=True))
        predecessors = dict(zip((True, False), beta[place].tolist(), strict=True))
        widths = dict(zip(lattice.chis, gamma[place].tolist(), strict=True))
        choices[cell] = Choice(
            op=max(lattice.operators(cell), key=operators.__getitem__),
            chi=None if lattice.is_last(cell) else max(lattice.chis, key=widths.__getitem__),
            downsampled=max(lattice.predecessors(cell), key=predecessors.__getitem__),
        )
    return space.architecture(choices, finals)


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
