"""Searches side by side, and which of them cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from searcher.past_run import PastRun
from searcher.tracks import Track


@dataclass(frozen=True)
class Compared:
    """One search among others.

    Attributes:
        name: tells it from the others.
        run: the search.
        differs: in what its figures are of something else than the first one's: ``device``, ``target``,
            ``image size``, ``batch``, ``data``. Empty: they can be compared.
    """

    name: str
    run: PastRun
    differs: tuple[str, ...]

    @property
    def note(self) -> str:
        """For people; empty where there is nothing to say."""
        return f"not comparable: another {', '.join(self.differs)}" if self.differs else ""

    def track(self) -> Track:
        """For the picture of accuracy against latency, marked where it cannot be compared."""
        label = f"{self.name} ({self.note})" if self.differs else self.name
        return replace(self.run.track(), label=label)


def compare_runs(runs: Sequence[PastRun]) -> list[Compared]:
    """The searches in their order, each held against the first."""
    counts = Counter(run.label for run in runs)
    return [
        Compared(run.label if counts[run.label] == 1 else str(run.folder.path), run, _differences(runs[0], run))
        for run in runs
    ]


def _differences(first: PastRun, other: PastRun) -> tuple[str, ...]:
    mine, theirs = _measured_by(first), _measured_by(other)
    # What a search does not know before its end is no difference.
    return tuple(what for what in mine if None not in (mine[what], theirs[what]) and mine[what] != theirs[what])


def _measured_by(run: PastRun) -> dict[str, object]:
    """What a search's latency and mIoU are of."""
    latency, data = run.config.latency, run.config.data
    return {
        "device": run.device,
        "target": run.result.target if run.result else None,
        "image size": latency.image_size,
        "batch": latency.batch,
        # Not its folder: the same data lies elsewhere on another machine.
        "data": (data.dataset, data.split, data.size, data.count, data.holdout),
    }
