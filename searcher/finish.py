"""From what a search learned to two networks: which branches, which choices, and what they take (Appendix B, 3.4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from latency_db.errors import PredictionError
from latency_db.store import Store
from searcher.assembly import Latencies, load_latencies, make_space
from searcher.band import BandError, most_probable_within
from searcher.branch_selection import choose, objective
from searcher.config import LatencyConfig, SearchConfig
from searcher.derive import derive
from searcher.history import ROLES, read_epochs
from searcher.parameters import ArchitectureParameters, read_parameters
from searcher.result import (
    Branches,
    Candidate,
    Derived,
    How,
    Role,
    SearchedData,
    SearchResult,
    read_result,
    write_result,
)
from searcher.run_folder import STUDENT, TEACHER, RunFolder
from searcher.space import FasterSegSpace
from trainer.architecture import Architecture
from trainer.runs.errors import RunFolderError
from trainer.runs.files import read_object, write_whole

FILES: dict[Role, str] = {"student": STUDENT, "teacher": TEACHER}
Accuracy = Callable[[Architecture], float]
"""mIoU of the supernet as a network."""


@dataclass(frozen=True)
class _Option:
    """A network as it would be with one set of branches."""

    branches: Branches
    architecture: Architecture
    latency_ms: float
    how: How
    argmax_latency_ms: float
    note: str


@dataclass(frozen=True)
class Conclusion:
    """Both networks, and why these.

    Attributes:
        architectures: the networks.
        derived: what is to be said of each.
        candidates: all sets of branches of both.
    """

    architectures: Mapping[Role, Architecture]
    derived: Mapping[Role, Derived]
    candidates: tuple[Candidate, ...]


def conclude(
    parameters: ArchitectureParameters,
    space: FasterSegSpace,
    latencies: Latencies,
    config: LatencyConfig,
    miou: Mapping[Role, Mapping[Branches, float]] | None,
    accuracy: Mapping[Role, Accuracy] | None = None,
) -> Conclusion:
    """Derive both networks for every set of branches and choose among these.

    The student's branches are those of the highest objective (Eq. 5) with the validation mIoU of the supernet and the
    predicted latency; the teacher's are the most accurate. With a target, only branches count whose most likely
    choices meet it within the tolerance; where there are none, the most probable network of each that does.

    Args:
        parameters: what was searched.
        space: of the search.
        latencies: of the device.
        config: target, tolerance and objective.
        miou: of the supernet on validation images, by network and branch set; None where there was no validation.
        accuracy: evaluates a derived network with the supernet's weights; None: it is not evaluated.

    Raises:
        PredictionError: no set of branches has a network within the tolerance of the target.
    """
    architectures: dict[Role, Architecture] = {}
    derived: dict[Role, Derived] = {}
    candidates: list[Candidate] = []
    for role in ROLES:
        target_ms = config.target_ms if role == "student" else None
        options = _options(_logits(parameters, role), space, latencies, target_ms, config.tolerance)
        measured = {} if miou is None else miou[role]
        # The supernet's accuracy speaks for its most likely choices, less for a network that was moved into the band.
        likeliest = [option.how == "argmax" for option in options]
        chosen = choose(
            [_candidate(role, option, measured.get(option.branches), config) for option in options],
            likeliest if any(likeliest) else None,
        )
        candidates += chosen
        option = next(one for one, candidate in zip(options, chosen, strict=True) if candidate.chosen)
        architectures[role] = option.architecture
        derived[role] = Derived(
            branches=option.branches,
            latency_ms=option.latency_ms,
            how=option.how,
            argmax_latency_ms=option.argmax_latency_ms,
            note=option.note,
            file=FILES[role],
            miou=None if accuracy is None else accuracy[role](option.architecture),
        )
    return Conclusion(architectures, derived, tuple(candidates))


def _logits(parameters: ArchitectureParameters, role: Role) -> tuple[Tensor, Tensor, Tensor]:
    alpha, beta, gamma = (tensor.detach().cpu() for tensor in parameters.of(role))
    return alpha, beta, gamma


def _candidate(role: Role, option: _Option, miou: float | None, config: LatencyConfig) -> Candidate:
    target_ms = config.target_ms or config.objective_target_ms
    # The teacher is not held to any latency (section 3.3).
    exponent = config.exponent if role == "student" else 0.0
    return Candidate(
        role=role,
        branches=option.branches,
        miou=miou,
        latency_ms=option.latency_ms,
        score=None if miou is None else objective(miou, option.latency_ms, target_ms, exponent),
        chosen=False,
    )


def _options(
    logits: tuple[Tensor, Tensor, Tensor],
    space: FasterSegSpace,
    latencies: Latencies,
    target_ms: float | None,
    tolerance: float,
) -> list[_Option]:
    """Every set of branches that has a network to offer."""
    found: list[_Option] = []
    missed: list[BandError] = []
    for branches in space.lattice.branch_sets():
        architecture = derive(*logits, branches, space)
        its_ms = latencies.predicted_ms(architecture)
        if target_ms is None or abs(its_ms / target_ms - 1) <= tolerance:
            found.append(_Option(branches, architecture, its_ms, "argmax", its_ms, ""))
            continue
        low_ms, high_ms = target_ms * (1 - tolerance), target_ms * (1 + tolerance)
        try:
            within = most_probable_within(*logits, branches, space, latencies.table, low_ms, high_ms)
        except BandError as error:
            missed.append(error)
            continue
        note = (
            f"the most likely choices take {its_ms:.3f} ms, more than {tolerance:.0%} off the target of {target_ms:g} "
            f"ms; this is the most probable network within {low_ms:.3f} to {high_ms:.3f} ms "
            + ("(proven)" if within.proven else "that a local search found: there may be a more probable one")
        )
        found.append(
            _Option(branches, within.architecture, latencies.predicted_ms(within.architecture), "band", its_ms, note)
        )
    if not found:
        raise PredictionError(
            f"no student takes {target_ms:g} ms within {tolerance:.0%} on this device: {missed[0].message}",
            hint="choose a target within the range",
        )
    return found


def check_target(space: FasterSegSpace, latencies: Latencies, config: LatencyConfig) -> None:
    """See that some network takes the target's latency, before days are spent on it.

    Raises:
        PredictionError: none does; it says what there is.
    """
    if config.target_ms is None:
        return
    undecided = ArchitectureParameters(space.lattice)
    _options(_logits(undecided, "student"), space, latencies, config.target_ms, config.tolerance)


def write_conclusion(
    folder: RunFolder,
    conclusion: Conclusion,
    config: SearchConfig,
    latencies: Latencies,
    classes: tuple[str, ...],
    seconds: float,
) -> SearchResult:
    """Write both architectures and the result.

    Raises:
        InputError: a file cannot be written.
    """
    for role, architecture in conclusion.architectures.items():
        write_whole(folder.path / FILES[role], f"{json.dumps(architecture.to_json(), indent=2)}\n".encode())
    table = latencies.table
    result = SearchResult(
        device=table.device,
        target=table.target,
        image_size=table.image,
        batch=table.batch,
        target_ms=config.latency.target_ms,
        tolerance=config.latency.tolerance,
        weights=latencies.weights,
        weights_rule=latencies.rule,
        student=conclusion.derived["student"],
        teacher=conclusion.derived["teacher"],
        candidates=conclusion.candidates,
        seconds=seconds,
        seed=config.run.seed,
        dataset=SearchedData(name=config.data.dataset, classes=classes),
    )
    write_result(folder.result, result)
    return result


def derive_run(path: Path, store: Store) -> SearchResult:
    """Derive the networks of a run again, from what it has learned so far.

    Raises:
        LatencyDbError: the folder is of no search or has no epoch yet, or as :meth:`LatencyTable.load`.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    epochs = read_epochs(folder.epochs)
    if not epochs or not folder.parameters.exists():
        raise RunFolderError(f"the search in {path} has not finished an epoch yet: there is nothing to derive from")
    classes = folder.read_about().classes
    space = make_space(config.space, len(classes))
    latencies = load_latencies(config.latency, space, store)
    parameters = read_parameters(folder.parameters, space.lattice)
    miou = next((one.miou for one in reversed(epochs) if one.miou is not None), None)
    conclusion = conclude(parameters, space, latencies, config.latency, miou)
    seconds = sum(one.seconds for one in epochs)
    # A search that is running here would write the same files.
    with folder.lock():
        return write_conclusion(folder, _with_known_accuracy(folder, conclusion), config, latencies, classes, seconds)


def _with_known_accuracy(folder: RunFolder, conclusion: Conclusion) -> Conclusion:
    """What the search itself evaluated stays true of a network that is the same."""
    if not folder.result.exists():
        return conclusion
    result = read_result(folder.result)
    before: dict[Role, Derived] = {"student": result.student, "teacher": result.teacher}
    derived = dict(conclusion.derived)
    for role, architecture in conclusion.architectures.items():
        path = folder.path / FILES[role]
        if path.exists() and read_object(path) == json.loads(json.dumps(architecture.to_json())):
            derived[role] = replace(derived[role], miou=before[role].miou)
    return replace(conclusion, derived=derived)
