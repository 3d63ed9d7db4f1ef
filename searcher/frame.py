"""What surrounds the cells of a FasterSeg network, whatever they choose: stem, decoder, head. No torch here.

The same operators as :func:`trainer.plan.plan` lists for a whole architecture; a test holds the two together.
"""

from __future__ import annotations

from itertools import pairwise

from latency_db.calibrate import PairKey
from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec
from latency_db.lattice import Frame, Lattice, LatticeSpecs, Merge
from trainer.architecture import FINEST


def lattice_specs(
    lattice: Lattice,
    *,
    image: ImageSize,
    batch: int,
    stem_widths: tuple[int, int, int],
    head_chi: int,
    num_classes: int,
    output: str,
) -> LatticeSpecs:
    """The lattice with its operators; the arguments are the space's settings."""

    def spec(op: str, s: int, c_in: int, c_out: int, stride: int = 1, branches: int = 1) -> OpSpec:
        return OpSpec(op, s, c_in, c_out, stride, image, batch, branches)

    first, second, third = stem_widths
    stem = (
        spec("conv", 1, 3, first, stride=2),
        spec("conv_x2", 2, first, second, stride=2),
        spec("conv_x2", 4, second, third, stride=2),
    )
    merges = {s: Merge(MERGE, head_chi * s, head_chi * s) for s in lattice.scales[:-1]}

    def frame(finals: tuple[int, ...]) -> Frame:
        width = len(finals) * head_chi * FINEST
        head = [spec("fuse", FINEST, width, width, branches=len(finals))]
        head.append(spec("classify", FINEST, width, num_classes))
        if output == "full":
            head.append(spec(UPSAMPLE, FINEST, num_classes, num_classes))
        specs, pairs = [*stem], [PairKey.of(stem[0], stem[1]), PairKey.of(stem[1], stem[2])]
        for final in finals:
            s = final
            while s > FINEST:
                finer = s // 2
                specs.append(spec("reduce", s, head_chi * s, head_chi * finer))
                pairs.append(PairKey("reduce", 1, MERGE, 1, s))
                pairs.append(PairKey(MERGE, 1, "reduce" if finer > FINEST else "fuse", 1, finer))
                s = finer
        pairs += [PairKey.of(one, two) for one, two in pairwise(head)]
        return Frame(specs=(*specs, *head), pairs=tuple(pairs))

    return LatticeSpecs(
        lattice=lattice,
        image=image,
        batch=batch,
        source=stem[2],
        last_widths={s: head_chi * s for s in lattice.scales},
        merges=merges,
        consumers={s: ("reduce" if s > FINEST else "fuse", 1) for s in lattice.scales},
        frames={finals: frame(finals) for finals in lattice.branch_sets()},
    )
