"""The two steps of the search, teacher and student at once (sections 3.1.3, 3.3 and Appendix F of FasterSeg).

Weights take steps on one half of the images, the architecture on the other. Neither step leaves anything to the next
but what it is there to change: in the step of the architecture, weights take no gradient and norms remember nothing; in
that of the weights, the architecture takes none.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from latency_db.relaxed import RelaxedLatency, sample_widths
from searcher.constraint import LatencyTerm
from searcher.draw import Draw, fixed_widths
from searcher.parameters import ArchitectureParameters, Logits
from searcher.result import Role
from searcher.supernet import Supernet
from trainer.data import Batch
from trainer.runs.processes import Processes

Phase = Literal["pretrain", "search"]
PRETRAIN_PASSES = ("widest", "narrowest", "random", "random")
SEARCH_PASSES = ("teacher", "student", "widest", "narrowest")
"""What each step runs through the supernet (Appendix F). Only the first two of a search are networks that are searched:
the other two keep every width of the student's operators trained."""


@dataclass(frozen=True)
class Step:
    """Which step of the whole search this is: all that its draws depend on.

    Attributes:
        seed: the search's.
        number: from 0, over both phases.
    """

    seed: int
    number: int

    def generator(self, purpose: str) -> torch.Generator:
        """A source of random numbers of its own: what is drawn does not depend on what was drawn before."""
        return torch.Generator().manual_seed(self._hash(purpose))

    def rng(self, purpose: str) -> random.Random:
        """The same, as Python's."""
        return random.Random(self._hash(purpose))

    def _hash(self, purpose: str) -> int:
        digest = hashlib.sha256(f"{self.seed}/{self.number}/{purpose}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a step saw.

    Attributes:
        total: what was descended.
        segmentation: from the images alone, the mean over passes and branch sets (what is descended is their sum).
        latency_ms: expected latency of the student, mean over branch sets; None in a step of the weights.
    """

    total: float
    segmentation: float
    latency_ms: float | None = None


class CoSearch:
    """The supernet, what is searched, and the losses that both are stepped by.

    Args:
        supernet: the shared weights.
        parameters: both networks' logits.
        relaxed: the latency that the student is held to.
        criterion: of logits and labels.
        latency_term: how much it counts.
        weights: (w1, w2, w3) of Eq. 3; None for the plain latency.
        temperature: τ of the Gumbel-Softmax.
        clip: largest norm of the weights' gradient.
        precision: of the forward pass.
        processes: with whom gradients are averaged.
    """

    def __init__(
        self,
        supernet: Supernet,
        parameters: ArchitectureParameters,
        relaxed: RelaxedLatency,
        criterion: nn.Module,
        latency_term: LatencyTerm,
        *,
        weights: Sequence[float] | None = None,
        temperature: float = 1.0,
        clip: float = 5.0,
        precision: torch.dtype = torch.float32,
        processes: Processes | None = None,
    ) -> None:
        self.supernet = supernet
        self.parameters = parameters
        self.relaxed = relaxed
        self.criterion = criterion
        self.latency_term = latency_term
        self.weights = weights
        self.temperature = temperature
        self.clip = clip
        self.precision = precision
        self.processes = processes or Processes()

    def weight_step(self, batch: Batch, optimizer: torch.optim.Optimizer, phase: Phase, step: Step) -> Losses:
        """One step of the weights: α, β, γ as they are.

        Args:
            batch: images (N, 3, H, W) and labels (N, H, W) of the half for the weights.
            optimizer: of the supernet's parameters.
            phase: which widths are trained.
            step: decides the draws.

        Returns:
            The losses. A total that is not finite changed nothing: the step was not taken.
        """
        self.supernet.train()
        optimizer.zero_grad(set_to_none=True)
        segmentation = 0.0
        for draw in self._draws(phase, step, "weights"):
            loss = self._loss(batch, draw)
            loss.backward()
            segmentation += loss.item()
        segmentation = self.processes.mean(segmentation)
        self.processes.average_gradients(self.supernet.parameters())
        norm = clip_grad_norm_(self.supernet.parameters(), self.clip)
        losses = Losses(
            total=segmentation + 0.0 * norm.item(), segmentation=segmentation / self._terms(PRETRAIN_PASSES)
        )
        if _finite(losses.total):
            optimizer.step()
        # Nothing of this step may be there in the next one; and the architecture's step can use the memory.
        optimizer.zero_grad(set_to_none=True)
        return losses

    def architecture_step(self, batch: Batch, optimizer: torch.optim.Optimizer, step: Step) -> Losses:
        """One step of α, β, γ: weights as they are.

        Args:
            batch: images (N, 3, H, W) and labels (N, H, W) of the half for the architecture.
            optimizer: of the parameters.
            step: decides the draws.

        Returns:
            The losses. A total that is not finite changed nothing: the step was not taken.
        """
        self.supernet.train()
        optimizer.zero_grad(set_to_none=True)
        segmentation, total, latency_ms = 0.0, 0.0, 0.0
        with _frozen(self.supernet), self.supernet.statistics_kept():
            for name, draw in zip(SEARCH_PASSES, self._draws("search", step, "architecture", True), strict=True):
                loss = self._loss(batch, draw)
                segmentation += loss.item()
                if name == "student":
                    with torch.no_grad():
                        latency_ms = self.latency(draw).item()
                    loss = loss + self.latency_term(self.latency(draw, self.weights))
                total += loss.item()
                loss.backward()
        segmentation, total = self.processes.mean(segmentation), self.processes.mean(total)
        parameters = list(self.parameters.parameters())
        self.processes.average_gradients(parameters)
        if _finite(total) and all(bool(p.grad.isfinite().all()) for p in parameters if p.grad is not None):
            optimizer.step()
        else:
            total = float("nan")
        optimizer.zero_grad(set_to_none=True)
        return Losses(total=total, segmentation=segmentation / self._terms(SEARCH_PASSES), latency_ms=latency_ms)

    def _terms(self, passes: Sequence[str]) -> int:
        return len(passes) * len(self.supernet.branch_sets)

    def latency(self, draw: Draw, weights: Sequence[float] | None = None) -> Tensor:
        """Expected latency in ms of what is drawn, mean over branch sets; with weights, times their sum."""
        return self.relaxed(draw.alpha, draw.beta, draw.gamma, probabilities=True, weights=weights).mean()

    @torch.no_grad()
    def expected(self, role: Role) -> Draw:
        """A network as it stands, without chance: its probabilities, and the most probable widths."""
        logits = self.parameters.of(role)
        alpha, beta, _ = self.relaxed.softmax(*logits)
        *_, gamma = self.relaxed.one_hot(*logits)
        return Draw(alpha, beta, gamma)

    @torch.no_grad()
    def expected_latency_ms(self, role: Role) -> float:
        """Expected latency of a network over all that is undecided, widths too; the mean over the branch sets."""
        return float(self.relaxed(*self.relaxed.softmax(*self.parameters.of(role)), probabilities=True).mean())

    def _loss(self, batch: Batch, draw: Draw) -> Tensor:
        with self.autocast():
            outputs = self.supernet(batch.image, draw)
        return torch.stack([self.criterion(logits, batch.label) for logits in outputs]).sum()

    def autocast(self) -> AbstractContextManager[object]:
        """What the forward pass runs in."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.parameters.student_alpha.device.type, self.precision)

    def _draws(self, phase: Phase, step: Step, purpose: str, learn: bool = False) -> Iterator[Draw]:
        passes = PRETRAIN_PASSES if phase == "pretrain" else SEARCH_PASSES
        for index, name in enumerate(passes):
            logits = self.parameters.of("teacher" if name == "teacher" else "student")
            if not learn:
                logits = Logits(*(tensor.detach() for tensor in logits))
            # Each pass has a graph of its own: it is freed before the next one runs.
            alpha, beta, _ = self.relaxed.softmax(*logits)
            yield Draw(alpha, beta, self._widths(name, logits, step, f"{purpose}/{index}"))

    def _widths(self, name: str, logits: Logits, step: Step, purpose: str) -> Tensor:
        """(L, S, X), one-hot."""
        lattice, device = self.supernet.lattice, logits.alpha.device
        if name == "student":
            return sample_widths(logits.gamma, tau=self.temperature, generator=step.generator(purpose))
        if name == "teacher":
            return logits.gamma.softmax(-1)
        if name == "random":
            return fixed_widths(lattice, "random", step.rng(purpose)).to(device)
        return fixed_widths(lattice, "widest" if name == "widest" else "narrowest").to(device)


def _finite(value: float) -> bool:
    return value - value == 0


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Parameters take no gradient: none is computed for them, and none can be left behind."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
