"""Networks side by side on one machine, in the same shuffled rounds, beside what the paper has of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from backends.measure import Outcome, Plan
from backends.protocol import Backend, Target
from backends.samples import Estimate
from latency_db.errors import InputError
from latency_db.keys import ImageSize
from latency_db.recording import Report
from latency_db.store import Store
from latency_db.whole_networks import measure_networks
from trainer.builtin import BUILTIN
from trainer.cost import Cost, count_cost
from trainer.subject import Subject
from trainer.zoo import PUBLISHED, ZOO, Published, Result
from trainer.zoo.published import CITYSCAPES

STUDENT = "fasterseg-student"
WHAT = "comparison"
OWN = "the paper's resolutions"


@dataclass(frozen=True)
class Entry:
    """A network at one image size, of one of the comparison's groups.

    Attributes:
        group: those of one group are compared with each other: an image size, or :data:`OWN`.
        subject: the network.
        image: input size.
    """

    group: str
    subject: Subject
    image: ImageSize

    @property
    def human_designed(self) -> bool:
        """Whether people drew it, not a search: it is of the zoo."""
        return self.subject.spec.kind == "zoo"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a comparison.

    Attributes:
        entry: the network, its size and its group.
        cost: parameters, multiply-adds, shape of the logits.
        latency: in ms, one image at a time; None where it was not measured.
        reason: why it was not.
        relative_fps: frames per second over those of the fastest human-designed network of its group; None where one of
            the two was not measured.
        paper: the row that FasterSeg's Tables 4 to 6 have of it; None where they have none. Of its resolution and of
            the paper's machine, not of this one.
    """

    entry: Entry
    cost: Cost
    latency: Estimate | None
    reason: str | None
    relative_fps: float | None
    paper: Result | None

    @property
    def fps(self) -> float | None:
        """Images a second."""
        return None if self.latency is None else 1e3 / self.latency.value

    def to_json(self) -> dict[str, Any]:
        """As JSON values; None for what is not known."""
        latency = self.latency
        return {
            "network": self.entry.subject.name,
            "kind": self.entry.subject.spec.kind,
            "human_designed": self.entry.human_designed,
            "group": self.entry.group,
            "image_size": str(self.entry.image),
            "num_classes": self.entry.subject.num_classes,
            "parameters": self.cost.parameters,
            "macs": self.cost.macs,
            "output_shape": list(self.cost.output_shape),
            "latency_ms": latency.value if latency else None,
            "rel_ci": latency.rel_ci if latency and latency.visits > 1 else None,
            "visits": latency.visits if latency else 0,
            "left_out": latency.left_out if latency else 0,
            "flagged": latency.flagged if latency else False,
            "fps": self.fps,
            "relative_fps": self.relative_fps,
            "not_measured": self.reason,
            "paper": asdict(self.paper) if self.paper else None,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found.

    Attributes:
        rows: in the order of the entries.
        target: what the latencies are of.
        kept_visits: visits taken over from runs like it that were cut short.
        run_id: the run in the database.
        outcome: how measuring ended.
    """

    rows: tuple[Row, ...]
    target: Target
    kept_visits: int
    run_id: int
    outcome: Outcome

    @property
    def groups(self) -> dict[str, list[Row]]:
        """The rows by group, both in the order of the entries."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.entry.group, []).append(row)
        return found


def published(subject: Subject) -> Published | None:
    """What papers print about a network, where they do."""
    if subject.spec.kind == "zoo":
        return PUBLISHED[subject.spec.name]
    architecture, student = subject.spec.architecture, BUILTIN[STUDENT]
    # By its cells, not by its name: a file may be called anything.
    same = architecture is not None and replace(architecture, num_classes=student.num_classes) == student
    return PUBLISHED["fasterseg"] if same else None


def paper_row(subject: Subject, image: ImageSize) -> Result | None:
    """The row of FasterSeg's Tables 4 to 6 to show beside a measurement: of its size, else the first."""
    results = (known := published(subject)) and known.results
    if not results:
        return None
    same = [result for result in results if result.resolution == (image.height, image.width)]
    return (*same, *results)[0]


def paper_resolution(subject: Subject) -> ImageSize | None:
    """The resolution at which FasterSeg's Table 4 has it; None where it has not."""
    known = published(subject)
    found = [result.resolution for result in known.results if result.dataset == CITYSCAPES] if known else []
    return ImageSize(*found[0]) if found else None


def default_names() -> list[str]:
    """All of the zoo, and FasterSeg's student."""
    return [*ZOO, STUDENT]


def entries(
    subjects: Sequence[Subject], images: Iterable[ImageSize], *, own_resolution: bool, named: bool
) -> tuple[list[Entry], list[Subject]]:
    """What is to be measured, and the networks that Table 4 does not have and that no image size is named for.

    Args:
        subjects: the networks.
        images: every network at each of these.
        own_resolution: every network at the resolution of Table 4, too.
        named: the user asked for these networks, so that none may be left out.

    Raises:
        InputError: a network that was asked for has no resolution in Table 4; or nothing is left to measure.
    """
    sizes = list(dict.fromkeys(images))
    found = [Entry(str(image), subject, image) for image in sizes for subject in subjects]
    unlisted = []
    if own_resolution:
        for subject in subjects:
            resolution = paper_resolution(subject)
            if resolution is not None:
                found.append(Entry(OWN, subject, resolution))
            else:
                unlisted.append(subject)
    if unlisted and named:
        raise InputError(
            f"the paper's Table 4 has no {unlisted[0].name}, so --own-resolution does not say its size",
            hint="leave it out, or name an --image-size instead",
        )
    return found, unlisted


def count_costs(found: Sequence[Entry]) -> list[Cost]:
    """Parameters and multiply-adds of every entry; networks are built one at a time, each once.

    Raises:
        CostError: one does not run at its size.
    """
    costs: dict[tuple[Subject, ImageSize], Cost] = {}
    for subject in dict.fromkeys(entry.subject for entry in found):
        module = subject.build()
        for image in dict.fromkeys(entry.image for entry in found if entry.subject == subject):
            costs[subject, image] = count_cost(module, (image.height, image.width))
    return [costs[entry.subject, entry.image] for entry in found]


def compare(
    store: Store,
    backend: Backend,
    found: Sequence[Entry],
    costs: Sequence[Cost],
    plan: Plan,
    *,
    device: str | None = None,
    seed: int = 0,
    remeasure: bool = False,
    report: Report = lambda progress: None,
) -> Comparison:
    """Measure all entries in one run, one network loaded at a time.

    Args:
        store: where the networks and their visits go.
        backend: what measures.
        found: the networks and sizes.
        costs: what they cost, in the same order.
        plan: when to stop.
        device: slug to file it under; the backend's own name for the machine where there is none.
        seed: of the order within rounds.
        remeasure: do not go on with a comparison of the same networks that was cut short.
        report: takes the loop's progress.
    """
    measured = measure_networks(
        store,
        backend,
        [entry.subject.whole(entry.image) for entry in found],
        plan,
        what=WHAT,
        device=device,
        seed=seed,
        remeasure=remeasure,
        report=report,
    )
    fastest = _fastest_human_designed(found, measured.latencies_ms)
    rows = tuple(
        Row(
            entry=entry,
            cost=cost,
            latency=latency,
            reason=reason,
            relative_fps=fastest[entry.group] / latency.value if latency and entry.group in fastest else None,
            paper=paper_row(entry.subject, entry.image),
        )
        for entry, cost, latency, reason in zip(found, costs, measured.latencies_ms, measured.reasons, strict=True)
    )
    return Comparison(
        rows=rows,
        target=measured.target,
        kept_visits=measured.kept_visits,
        run_id=measured.run_id,
        outcome=measured.outcome,
    )


def _fastest_human_designed(found: Sequence[Entry], latencies: Sequence[Estimate | None]) -> dict[str, float]:
    """By group, the shortest latency, in ms, of a network of the zoo; groups without one are not there."""
    fastest: dict[str, float] = {}
    for entry, latency in zip(found, latencies, strict=True):
        if entry.human_designed and latency is not None:
            fastest[entry.group] = min(latency.value, fastest.get(entry.group, latency.value))
    return fastest
