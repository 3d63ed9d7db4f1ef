"""The search from its first epoch to its last: steps, validation, what is noted, and going on after a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from latency_db.lattice import Lattice
from searcher.assembly import Assembly
from searcher.branch_selection import objective
from searcher.config import SearchConfig
from searcher.constraint import SteeredMultiplier
from searcher.cosearch import Losses, Phase, Step
from searcher.derive import derive
from searcher.errors import SearchError
from searcher.history import ROLES, EpochRecord, append_epoch, keep_until
from searcher.optimizers import architecture_optimizer, weights_optimizer
from searcher.parameters import write_json
from searcher.result import Branches, Role
from searcher.run_folder import RunFolder
from searcher.validate import validate
from trainer.data import Batch
from trainer.runs.checkpoint import load_checkpoint, save_checkpoint
from trainer.runs.files import write_whole

KIND = "search"
"""Of its checkpoints."""


class Listener(Protocol):
    """Who is told how the search goes."""

    def step(self, state: State, losses: Losses, architecture: Losses | None) -> None:
        """A step is done."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done and noted."""


@dataclass
class State:
    """Where the search is.

    Attributes:
        epoch: the present one, from 0, over both phases.
        step: steps of it that are done.
        steps: steps of a whole epoch.
        number: steps done over all epochs.
        seconds: that the search took before this epoch, over all its sittings.
        epoch_seconds: that this epoch took so far, over all its sittings.
        sums: sums over this epoch's steps of what the epoch's means are made of.
        aim: the branches that the last validation would choose for the student; None before.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    number: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: {"weights": 0.0, "architecture": 0.0})
    aim: Branches | None = None


class Search:
    """A search in a folder: a new one, or what the checkpoint there holds.

    Args:
        assembly: what it runs with.
        folder: where it leaves what it finds.
        listeners: who is told.

    Attributes:
        state: where it is.
        epochs: those of this sitting.

    Raises:
        SearchError: there is a checkpoint, and it cannot be gone on from.
    """

    def __init__(self, assembly: Assembly, folder: RunFolder, listeners: tuple[Listener, ...] = ()) -> None:
        self.assembly = assembly
        self.folder = folder
        self.listeners = listeners
        self.config: SearchConfig = assembly.config
        self.search = assembly.search
        self.weights_optimizer = weights_optimizer(self.search.supernet, self.config.schedule)
        self.architecture_optimizer = architecture_optimizer(self.search.parameters, self.config.schedule)
        self.state = State(steps=len(assembly.data.weights))
        self.epochs: list[EpochRecord] = []
        self._resumed = self._resume()

    def run(self) -> None:
        """Go on to the end.

        Raises:
            SearchError: the loss is no number any more, or the folder cannot be written. The last checkpoint is there.
            DataError: an image or a label is not what it should be.
        """
        if not self._resumed:
            self._save()
        batches = self.assembly.data.weights.forever(), self.assembly.data.architecture.forever()
        while self.state.epoch < self.config.schedule.epochs:
            self._epoch(*batches)

    @property
    def phase(self) -> Phase:
        """What the present epoch trains."""
        return "pretrain" if self.state.epoch < self.config.schedule.pretrain_epochs else "search"

    def _epoch(self, for_weights: Iterator[Batch], for_architecture: Iterator[Batch]) -> None:
        state = self.state
        rate = self.config.schedule.learning_rate * self.config.schedule.decay**state.epoch
        for group in self.weights_optimizer.param_groups:
            group["lr"] = rate
        kept = begun = time.monotonic()
        for batch in islice(for_weights, state.steps - state.step):
            self._step(batch, for_architecture)
            now = time.monotonic()
            state.epoch_seconds, begun = state.epoch_seconds + now - begun, now
            if state.step < state.steps and self._late(now - kept):
                self.assembly.processes.average_buffers(self.search.supernet)
                self._save()
                kept = now
        self.assembly.processes.average_buffers(self.search.supernet)
        record = self._record(rate, begun)
        self._advance(record)

    def _late(self, seconds: float) -> bool:
        """Whether the last checkpoint is too old; of several processes, as soon as one finds so, all do."""
        return self.assembly.processes.mean(float(seconds > 60 * self.config.run.checkpoint_minutes)) > 0

    def _step(self, batch: Batch, for_architecture: Iterator[Batch]) -> None:
        state, step = self.state, Step(self.config.run.seed, self.state.number)
        losses = self.search.weight_step(self._there(batch), self.weights_optimizer, self.phase, step)
        self._must_be_finite(losses, "weights")
        architecture: Losses | None = None
        if self.phase == "search":
            batch = self._there(next(for_architecture))
            architecture = self.search.architecture_step(batch, self.architecture_optimizer, step)
            self._must_be_finite(architecture, "architecture")
            if isinstance(self.search.latency_term, SteeredMultiplier):
                derived_ms = self.derived_ms()
                aimed = list(derived_ms.values()) if state.aim is None else [derived_ms[state.aim]]
                self.search.latency_term.observe(aimed)
            state.sums["architecture"] += architecture.segmentation
        state.sums["weights"] += losses.segmentation
        state.step += 1
        state.number += 1
        for listener in self.listeners:
            listener.step(state, losses, architecture)

    def _there(self, batch: Batch) -> Batch:
        device = self.assembly.device
        return Batch(batch.image.to(device, non_blocking=True), batch.label.to(device, non_blocking=True))

    def _must_be_finite(self, losses: Losses, what: str) -> None:
        if losses.total - losses.total != 0:
            state = self.state
            raise SearchError(
                f"the loss of the {what} is no number in step {state.step} of epoch {state.epoch}: the search diverged",
                hint=f"{self.folder.checkpoint} is from before it; start anew with a lower schedule.learning_rate",
            )

    def derived_ms(self) -> dict[Branches, float]:
        """Predicted latency in ms of the student that would be derived now, by branch set."""
        latencies, space = self.assembly.latencies, self.assembly.space
        alpha, beta, gamma = (tensor.detach().cpu() for tensor in self.search.parameters.of("student"))
        found = {}
        for finals in space.lattice.branch_sets():
            found[finals] = latencies.predicted_ms(derive(alpha, beta, gamma, finals, space))
        return found

    def validate(self, role: Role) -> dict[Branches, float]:
        """mIoU of the supernet as one of the two networks, undecided as it is, by branch set."""
        data, schedule = self.assembly.data, self.config.schedule
        return validate(
            self.search,
            self.search.expected(role),
            data.validation,
            calibration=data.calibration(schedule.calibration_batches),
        )

    def _best(self, miou: Mapping[Branches, float], derived_ms: Mapping[Branches, float]) -> Branches:
        """The branches of the highest objective (Eq. 5)."""
        config = self.config.latency
        target_ms = config.target_ms or config.objective_target_ms
        return max(miou, key=lambda finals: objective(miou[finals], derived_ms[finals], target_ms, config.exponent))

    def _record(self, rate: float, begun: float) -> EpochRecord:
        state, schedule, search = self.state, self.config.schedule, self.search
        searching = self.phase == "search"
        last = state.epoch == schedule.epochs - 1
        due = searching and ((state.epoch - schedule.pretrain_epochs + 1) % schedule.validate_every == 0 or last)
        shares = {role: search.relaxed.softmax(*search.parameters.of(role)) for role in ROLES}
        lattice = self.assembly.space.lattice
        miou = {role: self.validate(role) for role in ROLES} if due else None
        derived_ms = self.derived_ms() if searching else None
        if miou is not None and derived_ms is not None:
            state.aim = self._best(miou["student"], derived_ms)
        state.epoch_seconds += time.monotonic() - begun
        return EpochRecord(
            epoch=state.epoch,
            phase=self.phase,
            seconds=state.epoch_seconds,
            learning_rate=rate,
            weight_loss=state.sums["weights"] / state.steps,
            architecture_loss=state.sums["architecture"] / state.steps if searching else None,
            lambda_=search.latency_term.per_ms if searching else None,
            latency_ms={role: search.expected_latency_ms(role) for role in ROLES},
            derived_latency_ms=derived_ms,
            miou=miou,
            operators={
                role: dict(zip(lattice.ops, _mean(alpha, _every_cell(lattice)), strict=True))
                for role, (alpha, _, _) in shares.items()
            },
            widths=dict(zip(lattice.chis, _mean(shares["student"][2], _with_width(lattice)), strict=True)),
            downsample={role: _mean(beta, _with_choice(lattice))[0] for role, (_, beta, _) in shares.items()},
        )

    def _advance(self, record: EpochRecord) -> None:
        """Note the epoch, then keep the state in which the next one begins: killed between, it is done again."""
        state = self.state
        if self.assembly.processes.first:
            append_epoch(self.folder.epochs, record)
            write_whole(self.folder.parameters, write_json(self.search.parameters).encode())
        state.seconds += state.epoch_seconds
        state.epoch, state.step, state.epoch_seconds = state.epoch + 1, 0, 0.0
        state.sums = dict.fromkeys(state.sums, 0.0)
        self._save()
        self.epochs.append(record)
        for listener in self.listeners:
            listener.epoch(record)

    def _save(self) -> None:
        if not self.assembly.processes.first:
            return
        data, search, state = self.assembly.data, self.search, self.state
        save_checkpoint(
            self.folder.checkpoint,
            KIND,
            {
                "supernet": search.supernet.state_dict(),
                "parameters": search.parameters.state_dict(),
                "weights_optimizer": self.weights_optimizer.state_dict(),
                "architecture_optimizer": self.architecture_optimizer.state_dict(),
                "latency_term": dict(search.latency_term.state_dict()),
                "weights_data": data.weights.state_dict(),
                "architecture_data": data.architecture.state_dict(),
                "state": {**vars(state), "sums": dict(state.sums)},
                "processes": self.assembly.processes.count,
            },
        )

    def _resume(self) -> bool:
        """Go on where the last checkpoint was made; whether there is one."""
        if not self.folder.checkpoint.exists():
            return False
        kept = load_checkpoint(self.folder.checkpoint, KIND, self.assembly.device)
        if kept.get("processes") != self.assembly.processes.count:
            raise SearchError(
                f"the search in {self.folder.path} is one by {kept.get('processes')} processes, not by "
                f"{self.assembly.processes.count}: its batches would be others",
                hint="resume it by as many",
            )
        data, search = self.assembly.data, self.search
        try:
            search.supernet.load_state_dict(kept["supernet"])
            search.parameters.load_state_dict(kept["parameters"])
            self.weights_optimizer.load_state_dict(kept["weights_optimizer"])
            self.architecture_optimizer.load_state_dict(kept["architecture_optimizer"])
            search.latency_term.load_state_dict(kept["latency_term"])
            data.weights.load_state_dict(kept["weights_data"])
            data.architecture.load_state_dict(kept["architecture_data"])
            self.state = State(**kept["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SearchError(f"{self.folder.checkpoint} is not of this search: {reason}") from None
        if self.assembly.processes.first:
            keep_until(self.folder.epochs, self.state.epoch)
        return True


Cells = list[tuple[int, int]]
"""(layer, index of the scale)."""


def _mean(shares: Tensor, cells: Cells) -> list[float]:
    """(L, S, n) → the mean over some cells, n numbers."""
    chosen = torch.stack([shares.detach()[cell] for cell in cells]).double().mean(0)
    return [float(value) for value in chosen]


def _every_cell(lattice: Lattice) -> Cells:
    return [(layer, lattice.scales.index(s)) for s, layer in lattice.cells()]


def _with_width(lattice: Lattice) -> Cells:
    return [(layer, lattice.scales.index(s)) for s, layer in lattice.cells() if not lattice.is_last((s, layer))]


def _with_choice(lattice: Lattice) -> Cells:
    return [
        (layer, lattice.scales.index(s)) for s, layer in lattice.cells() if len(lattice.predecessors((s, layer))) == 2
    ]
