"""What a finished search found: ``result.json`` of its folder. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from latency_db.errors import InputError
from latency_db.keys import ImageSize
from trainer.runs.fields import Fields, finite, shortened
from trainer.runs.files import read_object, write_whole

RESULT = "result.json"
FORMAT, VERSION = "latency-db/search-result", 1

Role = Literal["teacher", "student"]
ROLES: tuple[Role, Role] = ("student", "teacher")
How = Literal["argmax", "band"]
HOWS: tuple[How, How] = ("argmax", "band")
WeightsRule = Literal["paper", "balanced", "given", "none"]
RULES: tuple[WeightsRule, ...] = ("paper", "balanced", "given", "none")
Branches = tuple[int, ...]
"""The scales at which branches end, fine to coarse."""
Weights = tuple[float, float, float]
"""(w₁, w₂, w₃) of Eq. 3: operators, downsample rates, widths."""


def branches_name(branches: Iterable[int]) -> str:
    """``"8_16"``: how files name a set of branches."""
    return "_".join(map(str, branches))


def parse_branches(name: str) -> Branches:
    """Read :func:`branches_name`.

    Raises:
        ValueError: it is no set of branches.
    """
    parts = name.split("_")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{name!r} names no branches, as in 8_16")
    return tuple(map(int, parts))


@dataclass(frozen=True, kw_only=True)
class Derived:
    """One of the two networks that a search ends with.

    Attributes:
        branches: where its branches end.
        latency_ms: predicted.
        how: ``argmax``: every cell's most likely choice (section 3.4); ``band``: the most probable network found whose
            latency is within the tolerance of the target.
        argmax_latency_ms: what the network of the most likely choices would take.
        note: about how it was derived; may be empty.
        file: name in the folder of the architecture.
        miou: of the supernet as this network on the validation images, in [0, 1]; None where it was not evaluated.
    """

    branches: Branches
    latency_ms: float
    how: How
    argmax_latency_ms: float
    note: str
    file: str
    miou: float | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One set of branches that a network could have been derived with (Appendix B).

    Attributes:
        role: whose.
        branches: where the branches end.
        miou: in [0, 1]; None where it was not evaluated.
        latency_ms: predicted.
        score: of Eq. 5, mIoU · (latency / T)^w; None where there is no mIoU.
        chosen: whether it became the result.
    """

    role: Role
    branches: Branches
    miou: float | None
    latency_ms: float
    score: float | None
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class SearchedData:
    """The images that were searched with.

    Attributes:
        name: of the dataset.
        classes: their names, in the order of the logits.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        device: slug of the device whose latencies it used.
        target: for people: what the latencies are of, in full.
        image_size: that the latencies are for.
        batch: images at once that the latencies are for.
        target_ms: latency asked of the student; None: none was.
        tolerance: how far from it is close enough, over ``target_ms``.
        weights: of Eq. 3; None: the latency was not decoupled.
        weights_rule: where they come from.
        student: the student.
        teacher: the teacher.
        candidates: every set of branches of either.
        seconds: time the search took, over all its sittings.
        seed: of its draws.
        dataset: the images.
    """

    device: str
    target: str
    image_size: ImageSize
    batch: int
    target_ms: float | None
    tolerance: float
    weights: Weights | None
    weights_rule: WeightsRule
    student: Derived
    teacher: Derived
    candidates: tuple[Candidate, ...]
    seconds: float
    seed: int
    dataset: SearchedData

    def to_json(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_json` reads them back exactly."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "device": self.device,
            "target": self.target,
            "image_size": str(self.image_size),
            "batch": self.batch,
            "target_ms": self.target_ms,
            "tolerance": self.tolerance,
            "weights": None if self.weights is None else list(self.weights),
            "weights_rule": self.weights_rule,
            "student": _derived_json(self.student),
            "teacher": _derived_json(self.teacher),
            "candidates": [{**vars(one), "branches": list(one.branches)} for one in self.candidates],
            "seconds": self.seconds,
            "seed": self.seed,
            "dataset": {"name": self.dataset.name, "classes": list(self.dataset.classes)},
        }

    @classmethod
    def from_json(cls, document: object, where: str = RESULT) -> SearchResult:
        """Read :meth:`to_json`'s output.

        Args:
            document: JSON values.
            where: names the file in complaints.

        Raises:
            InputError: where and why it is no result.
        """
        fields = Fields(document, where)
        if fields.text("format") != FORMAT:
            raise InputError(f'{where} is no result of a search: "format" is not {FORMAT!r}')
        if fields.whole("version") != VERSION:
            raise InputError(f'{where}: "version" is {fields.whole("version")}; this release reads {VERSION}')
        dataset = fields.object("dataset")
        return cls(
            device=fields.text("device"),
            target=fields.text("target"),
            image_size=_image_size(fields),
            batch=fields.count("batch"),
            target_ms=fields.optional("target_ms", fields.number),
            tolerance=fields.number("tolerance"),
            weights=_weights(fields),
            weights_rule=cast(WeightsRule, fields.one_of("weights_rule", RULES)),
            student=_derived(fields.object("student")),
            teacher=_derived(fields.object("teacher")),
            candidates=tuple(_candidate(item) for item in fields.objects("candidates")),
            seconds=fields.number("seconds"),
            seed=fields.whole("seed"),
            dataset=SearchedData(name=dataset.text("name"), classes=_texts(dataset, "classes")),
        )


def _derived_json(derived: Derived) -> dict[str, Any]:
    return {**vars(derived), "branches": list(derived.branches)}


def _image_size(fields: Fields) -> ImageSize:
    try:
        return ImageSize.parse(fields.text("image_size"))
    except ValueError as error:
        raise InputError(f"{fields.where}: {error}") from None


def _weights(fields: Fields) -> Weights | None:
    if "weights" not in fields:
        return None
    items = fields.items("weights")
    if len(items) != 3:
        raise InputError(f"{fields.where}: weights are {shortened(items)}, not three numbers")
    first, second, third = (finite(item, f"{fields.where}: weights[{index}]") for index, item in enumerate(items))
    return first, second, third


def _texts(fields: Fields, key: str) -> tuple[str, ...]:
    items = fields.items(key)
    if not all(isinstance(item, str) for item in items):
        raise InputError(f"{fields.where}: {key} is not a list of texts")
    return tuple(items)


def _branches(fields: Fields) -> Branches:
    items = fields.items("branches")
    if not items or not all(isinstance(item, int) and not isinstance(item, bool) and item > 0 for item in items):
        raise InputError(f"{fields.where}: branches are {shortened(items)}, not positive whole numbers")
    return tuple(items)


def _derived(fields: Fields) -> Derived:
    return Derived(
        branches=_branches(fields),
        latency_ms=fields.number("latency_ms"),
        how=cast(How, fields.one_of("how", HOWS)),
        argmax_latency_ms=fields.number("argmax_latency_ms"),
        note=fields.text("note"),
        file=fields.text("file"),
        miou=fields.optional("miou", fields.number),
    )


def _candidate(fields: Fields) -> Candidate:
    return Candidate(
        role=cast(Role, fields.one_of("role", ROLES)),
        branches=_branches(fields),
        miou=fields.optional("miou", fields.number),
        latency_ms=fields.number("latency_ms"),
        score=fields.optional("score", fields.number),
        chosen=fields.flag("chosen"),
    )


def write_result(path: Path, result: SearchResult) -> None:
    """Write the file, whole or not at all.

    Raises:
        InputError: a figure that is not finite, or the file cannot be written.
    """
    try:
        text = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise InputError("the result of the search has a figure that is not finite") from None
    write_whole(path, f"{text}\n".encode())


def read_result(path: Path) -> SearchResult:
    """The result in a file.

    Raises:
        InputError: it cannot be read, or where and why it is no result.
    """
    return SearchResult.from_json(read_object(path), str(path))
