"""What a search optimizes: α, β of the teacher and α, β, γ of the student, as logits (Appendix D, F of FasterSeg)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from latency_db import documents
from latency_db.errors import InputError
from latency_db.lattice import Lattice
from searcher.draw import fixed_widths
from searcher.result import Role

FORMAT, VERSION = "latency-db/search-parameters", 1
SPREAD = 1e-3
"""Standard deviation of the first logits: no choice starts as anyone's favourite, and none is tied."""


class Logits(NamedTuple):
    """One network's logits in the layout of :class:`latency_db.relaxed.RelaxedLatency`.

    Attributes:
        alpha: (L, S, O), operators in the order of the lattice's ``ops``.
        beta: (L, S, 2), from the finer scale (0) or from the cell's own (1).
        gamma: (L, S, X); the teacher's are fixed: −∞ for all but its widest.
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor


class ArchitectureParameters(nn.Module):
    """Both networks' logits. The teacher has no γ: it is always at its widest (section 3.3).

    Args:
        lattice: the cells.
        generator: draws the first logits; all zero without it.
    """

    def __init__(self, lattice: Lattice, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.lattice = lattice
        shape = lattice.layers, len(lattice.scales)

        def first(size: int) -> nn.Parameter:
            zero = torch.zeros(*shape, size)
            return nn.Parameter(zero if generator is None else zero.normal_(0, SPREAD, generator=generator))

        self.teacher_alpha = first(len(lattice.ops))
        self.teacher_beta = first(2)
        self.student_alpha = first(len(lattice.ops))
        self.student_beta = first(2)
        self.student_gamma = first(len(lattice.chis))
        self.register_buffer("widest", fixed_widths(lattice, "widest").log(), persistent=False)
        self.widest: Tensor

    def of(self, role: Role) -> Logits:
        """One network's logits; the teacher's γ leaves nothing but the widest."""
        if role == "teacher":
            return Logits(self.teacher_alpha, self.teacher_beta, self.widest)
        return Logits(self.student_alpha, self.student_beta, self.student_gamma)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; :meth:`load_json` reads them back exactly."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "operators": list(self.lattice.ops),
            "scales": list(self.lattice.scales),
            "chis": list(self.lattice.chis),
            **{name: value.detach().cpu().double().tolist() for name, value in self.named_parameters()},
        }

    @torch.no_grad()
    def load_json(self, document: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_json` wrote.

        Raises:
            InputError: it is no such document, or of another lattice.
        """
        if document.get("format") != FORMAT or document.get("version") != VERSION:
            raise InputError(f'not the parameters of a search: "format" and "version" are not {FORMAT!r} and {VERSION}')
        lattice = {"operators": self.lattice.ops, "scales": self.lattice.scales, "chis": self.lattice.chis}
        for name, values in lattice.items():
            if document.get(name) != list(values):
                raise InputError(f"the parameters are of another lattice: {name} are {document.get(name)}")
        for name, parameter in self.named_parameters():
            parameter.copy_(_tensor(document, name, tuple(parameter.shape)))


def _tensor(document: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    try:
        value = torch.tensor(document[name], dtype=torch.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the parameters' {name} is missing or no array of numbers") from error
    if tuple(value.shape) != shape or not all(map(math.isfinite, value.flatten().tolist())):
        raise InputError(f"the parameters' {name} is not {shape} finite numbers but {tuple(value.shape)}")
    return value


def read_parameters(path: Path, lattice: Lattice) -> ArchitectureParameters:
    """The parameters in a file that holds :meth:`ArchitectureParameters.to_json`.

    Raises:
        InputError: it cannot be read, or is of another lattice.
    """
    try:
        document = documents.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: not the parameters of a search")
    parameters = ArchitectureParameters(lattice)
    try:
        parameters.load_json(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return parameters


def write_json(parameters: ArchitectureParameters) -> str:
    """The file's text."""
    return json.dumps(parameters.to_json()) + "\n"
