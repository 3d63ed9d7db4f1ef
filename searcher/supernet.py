"""The supernet: every architecture of the space at once, with shared weights (sections 3.1.1 to 3.1.4 of FasterSeg)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec
from latency_db.lattice import CellKey
from latency_db.operators import build_operator
from searcher.draw import Draw, WidthRule, fixed_widths
from searcher.elastic_operators import ElasticOperator, fit
from searcher.norms import norms_in, statistics_averaged, statistics_kept
from searcher.route import CERTAIN, Route, Weight
from searcher.space import FasterSegSpace
from searcher.surroundings import surroundings
from trainer.architecture import FINEST
from trainer.plan import Step

__all__ = ["Draw", "Supernet", "WidthRule", "cell_name", "fixed_widths"]

_ANY_SIZE = ImageSize(64, 64)
"""No operator of the supernet depends on the image's size."""


def _sum(terms: Iterable[tuple[Weight, Tensor]]) -> Tensor:
    """Σ weight · x over one or more maps of any widths: the narrower are padded with zeros."""
    scaled = [weight.scale(x) for weight, x in terms]
    width = max(x.shape[1] for x in scaled)
    total = fit(scaled[0], width)
    for x in scaled[1:]:
        total = total + fit(x, width)
    return total


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
            specs = surroundings(self.lattice, space.architecture, finals, _ANY_SIZE).specs
            self.heads[_set_name(finals)] = nn.ModuleDict({name: build_operator(specs[name]) for name in _HEAD})
            for name, spec in specs.items():
                if name not in (*_HEAD, *self.around) and spec.op != UPSAMPLE:
                    self.around[name] = _elastic_merge(space, spec) if spec.op == MERGE else build_operator(spec)
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
        route = Route.of(self.lattice, draw, finals)
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

    def _run_layer(self, layer: int, maps: _Maps, route: Route) -> _Maps:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._layer(layer, maps, route)
        norms = norms_in(cell for name, cell in self.cells.items() if name.startswith(f"cell_l{layer}_"))

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            # When the layer runs again, its norms have seen the batch already.
            return nullcontext(), statistics_kept(norms)

        result: _Maps = checkpoint(self._layer, layer, maps, route, use_reentrant=False, context_fn=contexts)
        return result

    def _layer(self, layer: int, maps: _Maps, route: Route) -> _Maps:
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
                before = [(CERTAIN, result.sides[final, s])] if (final, s) in result.sides else []
                result.sides[final, s] = _sum([*before, (weight, x)])
        return result

    def _cell(self, cell: CellKey, stride: int, x: Tensor, route: Route) -> Tensor:
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

    def statistics_kept(self) -> AbstractContextManager[None]:
        """Inside, passes in training mode normalize by the batch, but leave no trace in what the norms remember."""
        return statistics_kept(norms_in([self]))

    @contextmanager
    def recalibrated(
        self, images: Iterable[Tensor], draw: Draw, branch_sets: Sequence[tuple[int, ...]] | None = None
    ) -> Iterator[None]:
        """Inside, the norms that a draw uses remember the mean over these batches; on leaving, what they did before.

        What they remember otherwise comes from whatever was drawn with them, so it fits no single draw. No gradients;
        inside, the module is in the mode in which it was.

        Args:
            images: batches of (N, 3, H, W). Without any nothing changes.
            draw: what will be run inside.
            branch_sets: as in :meth:`forward`.
        """
        was_training, norms = self.training, norms_in([self])
        with statistics_kept(norms):
            try:
                self.train()
                with torch.no_grad(), statistics_averaged(norms):
                    for batch in images:
                        self(batch, draw, branch_sets)
            finally:
                self.train(was_training)
            yield

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


def _elastic_merge(space: FasterSegSpace, spec: OpSpec) -> ElasticOperator:
    """The decoder's operator, which joins a side of any width."""
    return ElasticOperator(replace(spec, c_in=spec.c_out + max(space.widths(spec.s))), (spec.c_out,))
