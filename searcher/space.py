"""The FasterSeg search space as a plugin. Loads torch only when a module is built."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec
from latency_db.lattice import CellKey, LatticeSpecs
from latency_db.space import Decomposition
from searcher.frame import lattice_specs
from searcher.lattice import Choice, FasterSegLattice
from trainer.architecture import CELL_OPERATORS, FINEST, OUTPUTS, Architecture
from trainer.builtin import BUILTIN
from trainer.plan import IMAGE, plan

if TYPE_CHECKING:
    from torch import nn

_Key = tuple[str, int, int, int, int, int]
"""(op, s, c_in, c_out, stride, branches)."""


class FasterSegSpace:
    """Multi-resolution branches over a lattice of cells (section 3.1 of FasterSeg).

    Args:
        layers: L, cells from the stem to a branch's end.
        scales: downsample rates s, each twice the one before, from 8.
        chis: expansion ratios χ.
        branches: b.
        stem_widths: channels after each of the stem's three stages.
        head_chi: χ_h: the decoder works at χ_h · s channels.
        num_classes: channels of the logits.
        output: ``"1/8"``: the network ends in logits at 1/8; ``"full"``: they are upsampled to the image's size.

    Raises:
        ValueError: a setting that makes no space; the message names it.
    """

    name: ClassVar[str] = "fasterseg"

    def __init__(
        self,
        *,
        layers: int = 16,
        scales: Sequence[int] = (8, 16, 32),
        chis: Sequence[int] = (4, 6, 8, 10, 12),
        branches: int = 2,
        stem_widths: Sequence[int] = (32, 64, 64),
        head_chi: int = 8,
        num_classes: int = 19,
        output: str = "1/8",
    ) -> None:
        scales, chis, stem = tuple(scales), tuple(chis), tuple(stem_widths)
        for setting, values in (
            ("layers", (layers,)),
            ("scales", scales),
            ("chis", chis),
            ("branches", (branches,)),
            ("stem_widths", stem),
            ("head_chi", (head_chi,)),
            ("num_classes", (num_classes,)),
        ):
            for value in values:
                if not isinstance(value, int) or isinstance(value, bool):
                    raise ValueError(f"{setting}: {value!r} is not a whole number")
        if not scales or scales != tuple(FINEST * 2**index for index in range(len(scales))):
            raise ValueError(f"scales={list(scales)}: they start at {FINEST} and double")
        if layers < max(2, len(scales)):
            raise ValueError(f"layers={layers}: at least {max(2, len(scales))} for {len(scales)} scales")
        if not chis or min(chis) < 1 or len(set(chis)) != len(chis):
            raise ValueError(f"chis={list(chis)}: positive whole numbers, each once")
        if not 1 <= branches <= len(scales):
            raise ValueError(f"branches={branches}: from 1 to the number of scales, {len(scales)}")
        if len(stem) != 3 or min(stem) < 1:
            raise ValueError(f"stem_widths={list(stem)}: three positive whole numbers")
        if head_chi < 1 or num_classes < 1:
            raise ValueError("head_chi and num_classes are positive")
        if output not in OUTPUTS:
            raise ValueError(f"output={output!r}: one of {', '.join(OUTPUTS)}")
        self.lattice = FasterSegLattice(layers, scales, chis, branches)
        self.stem_widths: tuple[int, int, int] = (stem[0], stem[1], stem[2])
        self.head_chi = head_chi
        self.num_classes = num_classes
        self.output = output

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings in force, as JSON values."""
        return {
            "layers": self.lattice.layers,
            "scales": list(self.lattice.scales),
            "chis": list(self.lattice.chis),
            "branches": self.lattice.branches,
            "stem_widths": list(self.stem_widths),
            "head_chi": self.head_chi,
            "num_classes": self.num_classes,
            "output": self.output,
        }

    def specs(self, image: ImageSize, batch: int = 1) -> Sequence[OpSpec]:
        """Every operator that any architecture of the space can need at this size; sorted, each once."""
        return sorted(
            {
                OpSpec(op, s, c_in, c_out, stride, image, batch, joined)
                for op, s, c_in, c_out, stride, joined in self._keys()
            }
        )

    def _keys(self) -> Iterator[_Key]:
        """Stem, cells, head."""
        yield from self._stem_keys()
        yield from self._cell_keys()
        yield from self._head_keys()

    def _stem_keys(self) -> Iterable[_Key]:
        first, second, third = self.stem_widths
        return (
            ("conv", 1, 3, first, 2, 1),
            ("conv_x2", 2, first, second, 2, 1),
            ("conv_x2", 4, second, third, 2, 1),
        )

    def widths(self, s: int) -> tuple[int, ...]:
        """The widths that can reach a cell at scale ``s``: χ · s, and at the finest scale the stem's."""
        stem = {self.stem_widths[2]} if s == FINEST else set()
        return tuple(sorted({chi * s for chi in self.lattice.chis} | stem))

    def _cell_keys(self) -> Iterator[_Key]:
        scales = self.lattice.scales
        for s in scales:
            last_widths = {self.head_chi * s}
            for stride in (1, 2):
                if stride == 2 and 2 * s not in scales:
                    continue
                outgoing = {chi * s * stride for chi in self.lattice.chis}
                for op in CELL_OPERATORS:
                    if op == "skip" and stride == 1:
                        continue
                    ends = outgoing | (last_widths if stride == 1 else set())
                    for c_in in self.widths(s):
                        for c_out in ends:
                            yield op, s, c_in, c_out, stride, 1

    def _head_keys(self) -> Iterator[_Key]:
        chi, scales = self.head_chi, self.lattice.scales
        for s in scales[1:]:
            finer = s // 2
            # What comes up is the final cell's output or the decoder's own, both of the head's width.
            yield "reduce", s, chi * s, chi * finer, 1, 1
            for side in self.widths(finer):
                yield MERGE, finer, chi * finer + side, chi * finer, 1, 1
        joined = self.lattice.branches
        width = joined * chi * FINEST
        yield "fuse", FINEST, width, width, 1, joined
        yield "classify", FINEST, width, self.num_classes, 1, 1
        if self.output == "full":
            yield UPSAMPLE, FINEST, self.num_classes, self.num_classes, 1, 1

    def sample(self, rng: random.Random) -> Architecture:
        """All choices uniform and independent, branch sets equally likely; nothing is rejected."""
        return self.architecture(*self.lattice.sample(rng))

    def architecture(self, choices: Mapping[CellKey, Choice], finals: Iterable[int]) -> Architecture:
        """What walking back from the cells at the scales ``finals`` gives."""
        return Architecture(
            branches=tuple(self.lattice.walk_back(choices, final) for final in finals),
            stem_widths=self.stem_widths,
            head_chi=self.head_chi,
            num_classes=self.num_classes,
            output=self.output,
        )

    def decompose(self, architecture: Architecture, image: ImageSize, batch: int = 1) -> Decomposition:
        """Break an architecture into operators, each shared one once."""
        steps = plan(architecture, image, batch)
        return Decomposition(
            specs=tuple(step.spec for step in steps),
            edges=tuple(
                (source, index) for index, step in enumerate(steps) for source in step.inputs if source != IMAGE
            ),
        )

    def lattice_specs(self, image: ImageSize, batch: int = 1) -> LatticeSpecs:
        """The lattice as data, with the operators that its choices stand for."""
        return lattice_specs(self.lattice, self.architecture, image, batch)

    def build_operator(self, spec: OpSpec) -> nn.Module:
        """One operator as a module in eval mode."""
        from latency_db.operators import build_operator

        return build_operator(spec)

    def build(self, architecture: Architecture) -> nn.Module:
        """The whole network as a module in eval mode."""
        from trainer.network import Network

        return Network(architecture).eval()

    def to_json(self, architecture: Architecture) -> dict[str, Any]:
        """The architecture as JSON values."""
        return architecture.to_json()

    def from_json(self, document: Mapping[str, Any]) -> Architecture:
        """Read what ``to_json`` wrote; the architecture keeps its own stem, head and classes.

        Raises:
            ArchitectureError: where and why the document is none (a ``ValueError``).
        """
        return Architecture.from_json(document)

    def builtin(self) -> Mapping[str, Architecture]:
        """``fasterseg-student``: Table 7 of the paper."""
        return BUILTIN
