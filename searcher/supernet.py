"""The supernet: every architecture of the space at once, with shared weights (sections 3.1.1 to 3.1.4 of FasterSeg)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec
from latency_db.lattice import CellKey, Lattice
from latency_db.operators import build_operator
from searcher.elastic_operators import ElasticOperator, fit
from searcher.lattice import Choice
from searcher.space import FasterSegSpace
from trainer.architecture import FINEST
from trainer.plan import Step, plan

_ANY_SIZE = ImageSize(64, 64)
"""No operator of the supernet depends on the image's size."""


@dataclass(frozen=True)
class Draw:
    """What one forward pass uses: probabilities in the layout of :class:`latency_db.relaxed.RelaxedLatency`.

    The same three tensors, given to it with ``probabilities=True``, make the latency of what was run. As there, entries
    of choices that a cell does not have are ignored.

    Attributes:
        alpha: (L, S, O), operators in the order of the lattice's ``ops``. One of weight exactly 0 does not run, and
            its entry gets no gradient.
        beta: (L, S, 2), from the finer scale (0) or from the cell's own (1). As for ``alpha``.
        gamma: (L, S, X), one-hot: the width of each cell. Where it requires gradients (straight through, as
            :func:`latency_db.relaxed.sample_widths` gives it), the outputs of a cell are multiplied by the entry
            drawn, so that it gets one.
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor


WidthRule = Literal["widest", "narrowest", "random"]


def fixed_widths(lattice: Lattice, rule: WidthRule, rng: random.Random | None = None) -> Tensor:
    """Widths that no γ draws, as a :class:`Draw` takes them: (L, S, X), one-hot, without gradients.

    Args:
        lattice: the cells.
        rule: the same for every cell, or uniform and independent.
        rng: draws the random ones.

    Raises:
        ValueError: random widths without ``rng``.
    """
    chis = lattice.chis
    shape = lattice.layers, len(lattice.scales)
    if rule == "random":
        if rng is None:
            raise ValueError("random widths need a source of random numbers")
        index = torch.tensor([[rng.randrange(len(chis)) for _ in range(shape[1])] for _ in range(shape[0])])
    else:
        index = torch.full(shape, chis.index(max(chis) if rule == "widest" else min(chis)))
    return nn.functional.one_hot(index, len(chis)).to(torch.get_default_dtype())


@dataclass(frozen=True)
class _Weight:
    """A probability: as a number, which says what runs, and as a tensor, through which gradients flow.

    ``tensor`` is None where the probability is 1 and nothing is to be learnt about it.
    """

    number: float
    tensor: Tensor | None

    @classmethod
    def of(cls, number: float, tensor: Tensor) -> _Weight:
        return cls(number, None if number == 1 and not tensor.requires_grad else tensor)

    def times(self, other: _Weight) -> _Weight:
        if self.tensor is None or other.tensor is None:
            return self if other.tensor is None else other
        return _Weight(self.number * other.number, self.tensor * other.tensor)

    def plus(self, other: _Weight) -> _Weight:
        one, two = (1.0 if weight.tensor is None else weight.tensor for weight in (self, other))
        return _Weight(self.number + other.number, torch.as_tensor(one + two))

    def scale(self, x: Tensor) -> Tensor:
        return x if self.tensor is None else x * self.tensor


_CERTAIN = _Weight(1.0, None)


def _sum(terms: Iterable[tuple[_Weight, Tensor]]) -> Tensor:
    """Σ weight · x over one or more maps of any widths: the narrower are padded with zeros."""
    scaled = [weight.scale(x) for weight, x in terms]
    width = max(x.shape[1] for x in scaled)
    total = fit(scaled[0], width)
    for x in scaled[1:]:
        total = total + fit(x, width)
    return total


@dataclass(frozen=True)
class _Route:
    """One draw, ready to run: of every cell its weights and its width, and of every branch where it may pass.

    Attributes:
        operators: per cell, the operators that run.
        inputs: per cell, the predecessors that are not out of the question: whether finer, with β.
        chi: per cell, its width; none in the last layer.
        drawn: per cell, the straight-through multiplier of its width.
        visits: per final scale, the cells that walking back from it may pass, with the probability that it does.
    """

    operators: Mapping[CellKey, tuple[tuple[str, _Weight], ...]]
    inputs: Mapping[CellKey, tuple[tuple[bool, _Weight], ...]]
    chi: Mapping[CellKey, int]
    drawn: Mapping[CellKey, _Weight]
    visits: Mapping[int, Mapping[CellKey, _Weight]]

    @classmethod
    def of(cls, lattice: Lattice, draw: Draw, finals: Iterable[int]) -> _Route:
        alpha, beta = draw.alpha.tolist(), draw.beta.tolist()
        widths = draw.gamma.argmax(-1).tolist()
        operators, inputs, chi, drawn = {}, {}, {}, {}
        for cell in lattice.cells():
            layer, scale = cell[1], lattice.scales.index(cell[0])
            place = layer, scale
            offered = lattice.operators(cell)
            operators[cell] = tuple(
                (op, _Weight.of(alpha[layer][scale][index], draw.alpha[(*place, index)]))
                for index, op in enumerate(lattice.ops)
                if op in offered and alpha[layer][scale][index] != 0
            )
            predecessors = lattice.predecessors(cell)
            inputs[cell] = tuple(
                (finer, _Weight.of(beta[layer][scale][1 - finer], draw.beta[(*place, 1 - finer)]))
                for finer in predecessors
                if beta[layer][scale][1 - finer] != 0
            )
            if len(predecessors) == 1:
                inputs[cell] = ((predecessors[0], _CERTAIN),)
            if not lattice.is_last(cell):
                index = widths[layer][scale]
                chi[cell] = lattice.chis[index]
                drawn[cell] = _Weight(1.0, draw.gamma[(*place, index)] if draw.gamma.requires_grad else None)
        for what, of_cell in (("alpha", operators), ("beta", inputs)):
            missing = [cell for cell, chosen in of_cell.items() if not chosen]
            if missing:
                raise ValueError(f"{what} is 0 for every choice of the cell (s, layer) = {missing[0]}")
        visits = {final: _walk_back(lattice, inputs, final) for final in finals}
        return cls(operators, inputs, chi, drawn, visits)

    def passes(self, cell: CellKey) -> bool:
        """Whether any branch may pass the cell."""
        return any(cell in visited for visited in self.visits.values())

    def strides(self, cell: CellKey) -> tuple[int, ...]:
        """The strides at which a cell is used: 1 in the last layer, before it those towards cells that may take it."""
        s, layer = cell
        if cell not in self.chi:
            return (1,)
        return tuple(
            stride
            for stride in (1, 2)
            if self.passes((s * stride, layer + 1))
            and any(finer == (stride == 2) for finer, _ in self.inputs[s * stride, layer + 1])
        )

    def downsamples(self, cell: CellKey) -> Iterator[tuple[int, _Weight]]:
        """The branches that may downsample in the cell: their final scales, with the probability that they do."""
        s, layer = cell
        follower = 2 * s, layer + 1
        for final, visited in self.visits.items():
            for finer, weight in self.inputs.get(follower, ()) if follower in visited else ():
                if finer:
                    yield final, visited[follower].times(weight)


def _walk_back(
    lattice: Lattice, inputs: Mapping[CellKey, Sequence[tuple[bool, _Weight]]], final: int
) -> dict[CellKey, _Weight]:
    """P(a branch that ends at scale ``final`` passes the cell), from the last layer to the first."""
    visits = {(final, lattice.layers - 1): _CERTAIN}
    for layer in reversed(range(1, lattice.layers)):
        for s in lattice.scales:
            here = visits.get((s, layer))
            if here is None:
                continue
            for finer, weight in inputs[s, layer]:
                before = (s // 2 if finer else s), layer - 1
                reached = here.times(weight)
                visits[before] = visits[before].plus(reached) if before in visits else reached
    return visits


@dataclass
class _Maps:
    """The feature maps between two layers.

    Attributes:
        outputs: by (scale, whether downsampled): what the layer before emits towards the cells at ``scale``.
        sides: by (final scale, s): what reaches, in expectation, the cell of that branch that downsamples at s.
    """

    outputs: dict[tuple[int, bool], Tensor] = field(default_factory=dict)
    sides: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class Supernet(nn.Module):
    """All cells of the lattice with all their operators, between a stem and one head per set of final scales.

    The input of a cell is mixed before its operators run (Eq. 1), and its output is the sum of theirs, weighted with α,
    towards its own scale and towards the next coarser one, each with weights of its own (Eq. 2). One draw of the width
    serves both. Maps of different widths are added as if the narrower ended in zeros.

    A branch's way up to 1/8 joins its own map from before each of its downsamplings. Where that lies is what β is
    about, so the maps of all places where the branch may downsample are mixed with the probability that it does. The
    way up is a branch's own whichever branches it is joined with: one decoder per final scale, one head per set.

    Modules around the cells are named as the steps of :func:`trainer.plan.plan`, which also says what they are.

    Args:
        space: the settings.
        checkpointing: keep only what is between layers and run each again in the backward pass: less memory, more time.
        channels_last: memory format of weights and feature maps.

    Attributes:
        branch_sets: the sets of final scales, in the order of the logits.
    """

    def __init__(self, space: FasterSegSpace, *, checkpointing: bool = False, channels_last: bool = False) -> None:
        super().__init__()
        self.space = space
        self.lattice = space.lattice
        self.branch_sets = space.lattice.branch_sets()
        self.checkpointing = checkpointing
        self.channels_last = channels_last
        self.cells = nn.ModuleDict(
            {
                cell_name(cell, stride): _operators(space, cell, stride)
                for cell in self.lattice.cells()
                for stride in self._strides(cell)
            }
        )
        self.around = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for finals in self.branch_sets:
            steps = _around(space, finals)
            self.heads[_set_name(finals)] = nn.ModuleDict(
                {step.name: build_operator(step.spec) for step in steps if step.name in _HEAD}
            )
            for step in steps:
                if step.name not in _HEAD and step.name not in self.around:
                    self.around[step.name] = _elastic_merge(space, step) or build_operator(step.spec)
        self.train()
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _strides(self, cell: CellKey) -> tuple[int, ...]:
        return (1, 2) if not self.lattice.is_last(cell) and 2 * cell[0] in self.lattice.scales else (1,)

    def forward(
        self, image: Tensor, draw: Draw, branch_sets: Sequence[tuple[int, ...]] | None = None
    ) -> tuple[Tensor, ...]:
        """Run what the draw leaves possible.

        Args:
            image: (N, 3, H, W), H and W ≥ 64.
            draw: operators, predecessors, widths.
            branch_sets: sets of final scales, of :attr:`branch_sets`; all by default.

        Returns:
            Per branch set logits of (N, classes, ⌈H/8⌉, ⌈W/8⌉).

        Raises:
            ValueError: a shape that is not the lattice's, or a cell that is left without choice.
        """
        self._check(draw)
        wanted = self.branch_sets if branch_sets is None else branch_sets
        finals = sorted({final for finals in wanted for final in finals})
        route = _Route.of(self.lattice, draw, finals)
        x = image.contiguous(memory_format=torch.channels_last) if self.channels_last else image
        for name in ("stem0", "stem1", "stem2"):
            x = self.around[name](x)
        maps = _Maps({(FINEST, False): x})
        for layer in range(self.lattice.layers):
            maps = self._run_layer(layer, maps, route)
        decoded = {final: self._decode(final, maps) for final in finals}
        return tuple(self._classify(finals, [decoded[final] for final in finals]) for finals in wanted)

    def _check(self, draw: Draw) -> None:
        lattice = self.lattice
        sizes = {"alpha": len(lattice.ops), "beta": 2, "gamma": len(lattice.chis)}
        for name, size in sizes.items():
            shape = lattice.layers, len(lattice.scales), size
            if tuple(getattr(draw, name).shape) != shape:
                raise ValueError(f"{name} has shape {tuple(getattr(draw, name).shape)}, not {shape}")

    def _run_layer(self, layer: int, maps: _Maps, route: _Route) -> _Maps:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._layer(layer, maps, route)
        norms = [
            module
            for name, cell in self.cells.items()
            if name.startswith(f"cell_l{layer}_")
            for module in cell.modules()
            if isinstance(module, nn.BatchNorm2d)
        ]

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(norms)

        result: _Maps = checkpoint(self._layer, layer, maps, route, use_reentrant=False, context_fn=contexts)
        return result

    def _layer(self, layer: int, maps: _Maps, route: _Route) -> _Maps:
        """One layer: mix each cell's input, run its operators, keep what the decoders will join."""
        result = _Maps(sides=dict(maps.sides))
        for s in self.lattice.scales:
            cell = s, layer
            if cell not in route.inputs or not route.passes(cell):
                continue
            x = _sum((weight, maps.outputs[s, finer]) for finer, weight in route.inputs[cell])
            for stride in route.strides(cell):
                result.outputs[s * stride, stride == 2] = self._cell(cell, stride, x, route)
            for final, weight in route.downsamples(cell):
                before = [(_CERTAIN, result.sides[final, s])] if (final, s) in result.sides else []
                result.sides[final, s] = _sum([*before, (weight, x)])
        return result

    def _cell(self, cell: CellKey, stride: int, x: Tensor, route: _Route) -> Tensor:
        """Ō (Eq. 2): (N, c_in, h, w) → (N, χ · s · stride, ⌈h/stride⌉, ⌈w/stride⌉)."""
        operators = self.operators_of(cell, stride)
        c_out = route.chi.get(cell, self.space.head_chi) * cell[0] * stride
        y = _sum((weight, operators[op](x, c_out=c_out)) for op, weight in route.operators[cell])
        return route.drawn[cell].scale(y) if cell in route.drawn else y

    def _decode(self, final: int, maps: _Maps) -> Tensor:
        """The branch's way up: (N, χ_h · final, H/final, W/final) → (N, χ_h · 8, H/8, W/8)."""
        x, s = maps.outputs[final, False], final
        while s > FINEST:
            finer = s // 2
            reduced = self.around[f"branch{final}_reduce{s}"](x)
            merge = self.around[f"branch{final}_merge{finer}"]
            x = merge(reduced, maps.sides[final, finer], c_out=reduced.shape[1])
            s = finer
        return x

    def _classify(self, finals: tuple[int, ...], branches: Sequence[Tensor]) -> Tensor:
        head = self.head(finals)
        logits: Tensor = head["classify"](head["fuse"](*branches))
        return logits

    def operators_of(self, cell: CellKey, stride: int) -> nn.ModuleDict:
        """The elastic operators of a cell at one stride, by name."""
        operators = self.cells[cell_name(cell, stride)]
        assert isinstance(operators, nn.ModuleDict)
        return operators

    def operator(self, step: Step, finals: tuple[int, ...]) -> nn.Module:
        """What stands for a step of the plan of an architecture that ends at ``finals``.

        Raises:
            ValueError: the supernet has none.
        """
        for modules in (self.head(finals), self.around):
            if step.name in modules:
                return modules[step.name]
        cell = self.cells[step.name] if step.name in self.cells else nn.ModuleDict()
        if isinstance(cell, nn.ModuleDict) and step.spec.op in cell:
            return cell[step.spec.op]
        raise ValueError(f"the supernet has no {step.spec.op} {step.name}")

    def head(self, finals: tuple[int, ...]) -> nn.ModuleDict:
        """``fuse`` and ``classify`` of a branch set.

        Raises:
            ValueError: no such set.
        """
        if tuple(finals) not in self.branch_sets:
            raise ValueError(f"no branch set {finals}; there are {', '.join(map(str, self.branch_sets))}")
        head = self.heads[_set_name(finals)]
        assert isinstance(head, nn.ModuleDict)
        return head


_HEAD = ("fuse", "classify")


def cell_name(cell: CellKey, stride: int) -> str:
    """The cell at a stride, as :func:`trainer.plan.plan` calls its step."""
    return f"cell_l{cell[1]}_s{cell[0]}_x{stride}"


def _set_name(finals: Sequence[int]) -> str:
    return "_".join(map(str, finals))


def _operators(space: FasterSegSpace, cell: CellKey, stride: int) -> nn.ModuleDict:
    """The operators of a cell at one stride, by name."""
    s, last = cell[0], space.lattice.is_last(cell)
    widths = [chi * s * stride for chi in ((space.head_chi,) if last else space.lattice.chis)]
    c_in = max(space.widths(s))
    return nn.ModuleDict(
        {
            op: ElasticOperator(OpSpec(op, s, c_in, max(widths), stride, _ANY_SIZE), widths)
            for op in space.lattice.operators(cell)
        }
    )


def _around(space: FasterSegSpace, finals: tuple[int, ...]) -> list[Step]:
    """The steps of any architecture that ends at ``finals``, without its cells and its resizing to the image."""
    lattice = space.lattice
    some = {
        cell: Choice(
            op="conv",
            chi=None if lattice.is_last(cell) else max(lattice.chis),
            downsampled=lattice.predecessors(cell)[0],
        )
        for cell in lattice.cells()
    }
    steps = plan(space.architecture(some, finals), _ANY_SIZE)
    return [step for step in steps if not step.name.startswith("cell_") and step.spec.op != UPSAMPLE]


def _elastic_merge(space: FasterSegSpace, step: Step) -> ElasticOperator | None:
    """The decoder's step as an operator that joins a side of any width; None where it is no merge."""
    spec = step.spec
    if spec.op != MERGE:
        return None
    return ElasticOperator(replace(spec, c_in=spec.c_out + max(space.widths(spec.s))), (spec.c_out,))


@contextmanager
def _statistics_kept(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """While a checkpointed layer runs again, its norms have seen the batch already: what they remember stays."""
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
