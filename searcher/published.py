"""The search results that FasterSeg's authors published: ``arch_0.pt`` (the teacher) and ``arch_1.pt`` (the student).

A file is a dictionary of logits, i being 0 or 1 and k the number of the scale (8, 16, 32), and of what their evaluation
found. How its rows map to our cells (layer, s) and tensors (:class:`searcher.parameters.Logits`):

=============  ==================  =================================================================================
key            shape               row r
=============  ==================  =================================================================================
alpha_i_k      (L − k, 5)          the cell at layer r + k. Columns: skip, conv, zoomed conv, conv ×2, zoomed conv ×2
beta_i_k       (L − 1 − k, 2)      k = 1, 2: the cell at layer r + k + 1; columns as ours. The first cell of a scale,
                                   whose input can only come from the finer one, has none
ratio_i_0      (L − 1, X)          the width of the map that the cell at layer r emits at stride 1
ratio_i_k      (L − k, X)          k = 1, 2: the width of the map that enters the cell at layer r + k, whichever
                                   predecessor it comes from
latencyab      number              ms, for the branches with scale numbers a and b, as their code added them up
mIoUab         number              likewise, in the supernet
=============  ==================  =================================================================================

X is 5 for the student (χ = 4, 6, 8, 10, 12) and 1 for the teacher, which is always at its widest.

So where our γ is a cell's, for both of its strides, theirs is a map's: what the cell at (l, s) emits at stride 2 has
the width of the map that enters (l + 1, 2s). ``Published.logits`` has the widths at stride 1, ``Published.gamma_down``
those at stride 2. That this reading is right shows in the paper's Table 7: entering scale 16 at layer 13 (branch 16),
and scales 16 and 32 at layers 10 and 14 (branch 32), it gives the table's operators and widths, every one of them.

Those are not the positions of section 3.4's rule, which finds layer 14 for branch 16, and 14 and 15 for branch 32: β of
the cell at (15, 32) is by far the largest, but the authors' search for the positions did not come as far as the last
layer. Nor did it downsample by a skip, which is an operator like any other here.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latency_db.errors import InputError
from searcher.derive import derive
from searcher.parameters import Logits
from searcher.result import Role
from searcher.space import FasterSegSpace
from searcher.supernet import fixed_widths
from trainer.architecture import Architecture, Branch

THEIR_OPERATORS = ("skip", "conv", "zoomed_conv", "conv_x2", "zoomed_conv_x2")
"""The columns of their α."""
LARGEST = 1_000_000
"""Bytes; the published files have under 4000."""
_SCALES = 3


@dataclass(frozen=True, eq=False)
class Published:
    """One of the two networks.

    Attributes:
        role: whose.
        space: what it was searched in: the paper's space with the file's number of layers.
        logits: α, β, and γ of what cells emit at stride 1.
        gamma_down: (L, S, X) logits of what cells emit at stride 2; 0 where nothing is.
        latencies_ms: what their code had added up, by the branches' final scales.
    """

    role: Role
    space: FasterSegSpace
    logits: Logits
    gamma_down: Tensor
    latencies_ms: Mapping[tuple[int, int], float]

    def architecture(self, finals: Iterable[int]) -> Architecture:
        """What section 3.4 makes of the logits: :func:`searcher.derive.derive`, with their widths at stride 2.

        Raises:
            InputError: no such branches.
        """
        return self.with_their_widths(derive(*self.logits, finals, self.space))

    def with_their_widths(self, architecture: Architecture) -> Architecture:
        """The architecture with the width at which each downsampling cell's map enters the coarser scale."""
        lattice = self.space.lattice
        widest = self.gamma_down.argmax(-1)

        def wide(branch: Branch) -> Branch:
            cells = (
                replace(cell, chi=lattice.chis[int(widest[cell.layer, lattice.scales.index(cell.s)])])
                if cell.stride == 2
                else cell
                for cell in branch.cells
            )
            return Branch(cells=tuple(cells))

        return replace(architecture, branches=tuple(wide(branch) for branch in architecture.branches))


def read_published(path: Path) -> Published:
    """Read a file. Nothing in it is run: of all that a pickle may name, tensors and plain float64 numbers are let in.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    content = _load(path)
    try:
        return _published(content)
    except InputError as error:
        raise InputError(f"{path}: not a published search result: {error.message}") from None


def _load(path: Path) -> object:
    number = np.float64(0)
    # What numpy's numbers are stored as: a function that makes one of bytes, which has moved, and float64's own type.
    make: Any = number.__reduce__()[0]
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (make, "numpy.core.multiarray.scalar"),
        (make, "numpy._core.multiarray.scalar"),
        np.dtype,
        type(number.dtype),
    ]
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: not a published search result: larger than {LARGEST} bytes")
        with path.open("rb") as file, torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: object = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except InputError:
        raise
    # A damaged pickle can make its reader raise anything at all.
    except Exception as error:
        raise InputError(f"{path}: not a published search result, or damaged ({type(error).__name__})") from None
    return content


def _published(content: object) -> Published:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError("no dictionary of names")
    numbers = [index for index in (0, 1) if f"alpha_{index}_0" in content]
    if len(numbers) != 1:
        raise InputError("neither alpha_0_0 nor alpha_1_0 is there" if not numbers else "it has two networks")
    role: Role = "student" if numbers[0] else "teacher"
    reader = _Reader(content, numbers[0])
    layers = reader.rows("alpha", 0)
    if layers <= _SCALES:
        raise InputError(f"it has {layers} layers")
    space = FasterSegSpace(layers=layers)
    lattice = space.lattice
    n_chis = len(lattice.chis) if role == "student" else 1
    alpha = torch.zeros(layers, _SCALES, len(THEIR_OPERATORS))
    beta = torch.zeros(layers, _SCALES, 2)
    gamma, gamma_down = torch.zeros(layers, _SCALES, n_chis), torch.zeros(layers, _SCALES, n_chis)
    order = [THEIR_OPERATORS.index(op) for op in lattice.ops]
    for k in range(_SCALES):
        alpha[k:, k] = reader.tensor("alpha", k, (layers - k, len(order)))[:, order]
        if k == 0:
            gamma[:-1, 0] = reader.tensor("ratio", 0, (layers - 1, n_chis))
            continue
        beta[k + 1 :, k] = reader.tensor("beta", k, (layers - 1 - k, 2))
        entering = reader.tensor("ratio", k, (layers - k, n_chis))
        gamma[k:-1, k] = entering[1:]
        gamma_down[k - 1 : -1, k - 1] = entering
    if role == "teacher":
        gamma = fixed_widths(lattice, "widest")
        gamma_down = gamma.clone()
    return Published(role, space, Logits(alpha, beta, gamma), gamma_down, _latencies(content, space))


@dataclass(frozen=True)
class _Reader:
    content: Mapping[str, object]
    index: int

    def rows(self, name: str, k: int) -> int:
        value = self.content[f"{name}_{self.index}_{k}"]
        return len(value) if isinstance(value, Tensor) and value.dim() > 0 else 0

    def tensor(self, name: str, k: int, shape: tuple[int, int]) -> Tensor:
        key = f"{name}_{self.index}_{k}"
        value = self.content.get(key)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            found = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else "is missing or no tensor"
            raise InputError(f"{key} {found}, not {shape}")
        values = value.detach().float()
        if not bool(values.isfinite().all()):
            raise InputError(f"{key} holds what is no finite number")
        return values


def _latencies(content: Mapping[str, object], space: FasterSegSpace) -> dict[tuple[int, int], float]:
    found = {}
    for key, value in content.items():
        match = re.fullmatch(r"latency([0-2])([0-2])", key)
        if match is None:
            continue
        if not isinstance(value, float) or not math.isfinite(value):
            raise InputError(f"{key} is no finite number")
        first, second = (space.lattice.scales[int(number)] for number in match.groups())
        found[first, second] = float(value)
    return found
