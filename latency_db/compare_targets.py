"""Two targets, operator by operator: how much faster one is, how alike they rank, and where they differ most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latency_db.correlate import Correlations, correlations
from latency_db.errors import NotFoundError
from latency_db.keys import OpSpec
from latency_db.rows import LatencyRow


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One operator on both targets.

    Attributes:
        a, b: its latencies, in ms, and where they came from.
        rel_ci: half-width of the 95% interval of log(b/a); None where that of a latency is not known.
    """

    spec: OpSpec
    a: LatencyRow
    b: LatencyRow
    rel_ci: float | None

    @property
    def ratio(self) -> float:
        """b / a: below 1, B is the faster one."""
        return self.b.latency_ms / self.a.latency_ms

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the ratio."""
        if self.rel_ci is None:
            return None
        return self.ratio * math.exp(-self.rel_ci), self.ratio * math.exp(self.rel_ci)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The operators of one kind.

    Attributes:
        ratio: geometric mean of b / a.
        against_all: that over the same of all operators.
    """

    op: str
    operators: int
    ratio: float
    against_all: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two targets have in common, and what not.

    Attributes:
        pairs: the operators that both have, sorted.
        only_a, only_b: those that one has alone, sorted.
        ratio: geometric mean of b / a over the pairs.
        log_correlations: of the logarithms of the latencies; None where none exists.
        kinds: by kind of operator, from where B does best to where it does worst.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[OpSpec, ...]
    only_b: tuple[OpSpec, ...]
    ratio: float
    log_correlations: Correlations | None
    kinds: tuple[Kind, ...]

    def farthest(self, n: int) -> tuple[Pair, ...]:
        """The ``n`` operators whose ratio is farthest from the overall one, in either direction, farthest first."""
        return tuple(sorted(self.pairs, key=lambda pair: (-abs(math.log(pair.ratio / self.ratio)), pair.spec))[:n])


def compare(a: Iterable[LatencyRow], b: Iterable[LatencyRow]) -> Comparison:
    """Compare the latencies of two targets.

    Args:
        a, b: of each target, one row per operator.

    Raises:
        NotFoundError: they have no operator in common.
    """
    rows_a, rows_b = {row.spec: row for row in a}, {row.spec: row for row in b}
    common = sorted(rows_a.keys() & rows_b.keys())
    if not common:
        raise NotFoundError(
            f"they have no operator in common: {_sizes(rows_a)} against {_sizes(rows_b)}",
            hint="profile both with the same space at the same image size: latency-db profile --image-size HxW",
        )
    pairs = tuple(_pair(spec, rows_a[spec], rows_b[spec]) for spec in common)
    ratio = _geometric_mean([pair.ratio for pair in pairs])
    return Comparison(
        pairs=pairs,
        only_a=tuple(sorted(rows_a.keys() - rows_b.keys())),
        only_b=tuple(sorted(rows_b.keys() - rows_a.keys())),
        ratio=ratio,
        log_correlations=correlations(
            [math.log(pair.a.latency_ms) for pair in pairs], [math.log(pair.b.latency_ms) for pair in pairs]
        ),
        kinds=_kinds(pairs, ratio),
    )


def _pair(spec: OpSpec, a: LatencyRow, b: LatencyRow) -> Pair:
    """The two latencies were measured independently, so the squares of their intervals add up."""
    known = _known(a.rel_ci), _known(b.rel_ci)
    rel_ci = None if known[0] is None or known[1] is None else math.hypot(known[0], known[1])
    return Pair(spec=spec, a=a, b=b, rel_ci=rel_ci)


def _known(rel_ci: float | None) -> float | None:
    return rel_ci if rel_ci is not None and math.isfinite(rel_ci) else None


def _kinds(pairs: Sequence[Pair], overall: float) -> tuple[Kind, ...]:
    ratios: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        ratios[pair.spec.op].append(pair.ratio)
    kinds = []
    for op, found in ratios.items():
        ratio = _geometric_mean(found)
        kinds.append(Kind(op=op, operators=len(found), ratio=ratio, against_all=ratio / overall))
    return tuple(sorted(kinds, key=lambda kind: (kind.ratio, kind.op)))


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _sizes(rows: Iterable[OpSpec]) -> str:
    """For people: how many operators at which image sizes."""
    counts: dict[str, int] = defaultdict(int)
    for spec in rows:
        counts[f"{spec.image}{f' n{spec.batch}' if spec.batch != 1 else ''}"] += 1
    return ", ".join(f"{count} at {size}" for size, count in sorted(counts.items())) or "none at all"
