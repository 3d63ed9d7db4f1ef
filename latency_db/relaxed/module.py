"""The relaxed latency as a module (sections 3.2 and 3.3 of FasterSeg)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.relaxed.costs import costs
from latency_db.relaxed.kernel import ExpectedLatency, Plan
from latency_db.table import LatencyTable

FamilyName = Literal["alpha", "beta", "gamma"]
FAMILIES: tuple[FamilyName, ...] = ("alpha", "beta", "gamma")
SUM_TOLERANCE = 1e-2
"""Probabilities of one choice add up to 1 within this; half precision is not exact."""


class RelaxedLatency(nn.Module):
    """Expected latency in ms of architectures drawn from α, β, γ: exact, differentiable, in a batch.

    Every cell (layer, s) draws its operator from α, its predecessor from β and its width from γ, independently.
    Branches walk back from their final cells, and what they share is paid once. The value is the expectation over all
    these draws of what :meth:`LatencyTable.predict` says of the architecture drawn.

    Shapes, with any leading dimensions ``…``, which broadcast:

    - α (…, L, S, O): operators in the order of ``ops``
    - β (…, L, S, 2): the predecessor is at the next finer scale (0) or at the cell's own (1)
    - γ (…, L, S, X): expansion ratios in the order of ``chis``
    - result (…, B): one value per branch set in the order of ``branch_sets``; search takes their mean

    Entries of choices that a cell does not have are ignored and get no gradient: cells that do not exist (layer below
    the scale's index), the skip and the width in the last layer, predecessors where there is only one.

    There are no parameters and nothing is trained here; gradients are first-order.

    Args:
        table: the latencies.

    Raises:
        InputError: the table's space is no lattice of cells.
    """

    def __init__(self, table: LatencyTable) -> None:
        super().__init__()
        self._costs = costs(table)
        self._plans: dict[tuple[torch.dtype, torch.device], Plan] = {}
        lattice = self._costs.lattice
        self.layers, self.scales, self.chis, self.ops = lattice.layers, lattice.scales, lattice.chis, lattice.ops
        self.branch_sets = lattice.branch_sets()
        self.device_slug = table.device

    @property
    def alpha_shape(self) -> tuple[int, int, int]:
        """(L, S, O)."""
        return self.layers, len(self.scales), len(self.ops)

    @property
    def beta_shape(self) -> tuple[int, int, int]:
        """(L, S, 2)."""
        return self.layers, len(self.scales), 2

    @property
    def gamma_shape(self) -> tuple[int, int, int]:
        """(L, S, X)."""
        return self.layers, len(self.scales), len(self.chis)

    def forward(
        self,
        alpha: Tensor,
        beta: Tensor,
        gamma: Tensor,
        *,
        probabilities: bool | Collection[FamilyName] = False,
        weights: Sequence[float] | None = None,
    ) -> Tensor:
        """The expected latency.

        Args:
            alpha: (…, L, S, O).
            beta: (…, L, S, 2).
            gamma: (…, L, S, X).
            probabilities: whether the three are probabilities already, or which of them are; logits otherwise, whose
                softmax is taken over the choices that a cell has.
            weights: (w1, w2, w3) of Eq. 3: the value is
                w1 · latency(α|β,γ) + w2 · latency(β|α,γ) + w3 · latency(γ|α,β), each of which passes gradients to the
                family before the bar alone. None: plain latency and gradients.

        Returns:
            (…, B) ms, in the promoted dtype of the inputs (half precision is computed in float32).

        Raises:
            ValueError: a shape, dtype or device that does not fit, or probabilities that do not add up to 1.
        """
        given = {"alpha": alpha, "beta": beta, "gamma": gamma}
        shapes = (self.alpha_shape, self.beta_shape, self.gamma_shape)
        for (name, tensor), shape in zip(given.items(), shapes, strict=True):
            if tuple(tensor.shape[-3:]) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; its last three must be {shape}")
            if not tensor.is_floating_point() or tensor.device != alpha.device:
                raise ValueError(f"{name} must be floating point and on the device of alpha, {alpha.device}")
        known = FAMILIES if probabilities is True else probabilities or ()
        for name in known:
            if name not in given:
                raise ValueError(f"probabilities names {name!r}, which is none of {', '.join(FAMILIES)}")
            self._check(name, given[name])
        dtype = torch.promote_types(torch.promote_types(alpha.dtype, beta.dtype), gamma.dtype)
        compute = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        leading = alpha.shape[:-3]
        if not leading == beta.shape[:-3] == gamma.shape[:-3]:
            try:
                leading = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
                    alpha.shape[:-3], beta.shape[:-3], gamma.shape[:-3]
                )
            except RuntimeError:
                raise ValueError(
                    f"the leading dimensions of alpha {tuple(alpha.shape)}, beta {tuple(beta.shape)} and gamma "
                    f"{tuple(gamma.shape)} do not broadcast"
                ) from None
        flat = (
            tensor.to(compute).expand(*leading, *shape).reshape(-1, *shape)
            for tensor, shape in zip(given.values(), shapes, strict=True)
        )
        are_logits = ("alpha" not in known, "beta" not in known, "gamma" not in known)
        plan = self._plan(compute, alpha.device)
        value: Tensor = ExpectedLatency.apply(  # type: ignore[no-untyped-call]
            plan, are_logits, _three(weights), *flat
        )
        return value.view(*leading, len(self.branch_sets)).to(dtype)

    def alpha_latency(self, alpha: Tensor, beta: Tensor, gamma: Tensor, **options: bool) -> Tensor:
        """latency(α|β,γ): the value of :meth:`forward`, with gradients for α alone."""
        return self(alpha, beta.detach(), gamma.detach(), **options)  # type: ignore[no-any-return]

    def beta_latency(self, alpha: Tensor, beta: Tensor, gamma: Tensor, **options: bool) -> Tensor:
        """latency(β|α,γ): the value of :meth:`forward`, with gradients for β alone."""
        return self(alpha.detach(), beta, gamma.detach(), **options)  # type: ignore[no-any-return]

    def gamma_latency(self, alpha: Tensor, beta: Tensor, gamma: Tensor, **options: bool) -> Tensor:
        """latency(γ|α,β): the value of :meth:`forward`, with gradients for γ alone."""
        return self(alpha.detach(), beta.detach(), gamma, **options)  # type: ignore[no-any-return]

    def softmax(self, alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The probabilities that :meth:`forward` makes of logits: over the choices that a cell has."""
        return tuple(  # type: ignore[return-value]
            self._offered(name, tensor).softmax(-1) for name, tensor in zip(FAMILIES, (alpha, beta, gamma), strict=True)
        )

    def one_hot(self, alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The most likely choice of each family as probabilities: what :meth:`forward` makes of the derived network."""
        return tuple(  # type: ignore[return-value]
            F.one_hot(self._offered(name, tensor).argmax(-1), tensor.shape[-1]).to(tensor.dtype)
            for name, tensor in zip(FAMILIES, (alpha, beta, gamma), strict=True)
        )

    def _offered(self, family: FamilyName, tensor: Tensor) -> Tensor:
        """The entries, −∞ where a cell does not have the choice."""
        plan = self._plan(torch.float64, tensor.device)
        if family == "gamma":
            return tensor
        bias = plan.alpha_bias if family == "alpha" else plan.beta_bias
        return tensor + bias.squeeze(3).permute(2, 0, 1).to(tensor.dtype)

    def _check(self, family: FamilyName, tensor: Tensor) -> None:
        plan = self._plan(torch.float64, tensor.device)
        mask = {"alpha": plan.alpha_mask, "beta": plan.beta_mask}.get(family)
        value = tensor.detach().double()
        if mask is not None:
            value = value * mask.squeeze(3).permute(2, 0, 1)
        total = value.sum(-1)
        rows = torch.ones_like(total, dtype=torch.bool)
        for layer in range(self.layers):
            for scale in range(len(self.scales)):
                if layer < scale or (family == "gamma" and layer == self.layers - 1):
                    rows[..., layer, scale] = False
        if family == "beta":
            rows &= plan.beta_forced.sum(1).squeeze(2).t() == 0
        if bool(((total - 1).abs() > SUM_TOLERANCE)[rows].any()) or bool((value[rows] < -SUM_TOLERANCE).any()):
            raise ValueError(f"{family} is said to be probabilities, but some of a cell's do not add up to 1")

    def _plan(self, dtype: torch.dtype, device: torch.device) -> Plan:
        key = dtype, device
        if key not in self._plans:
            self._plans[key] = Plan.of(self._costs, dtype, device)
        return self._plans[key]

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{self.device_slug}, L={self.layers}, scales={self.scales}, b={len(self.branch_sets[0])}"


def _three(weights: Sequence[float] | None) -> tuple[float, float, float] | None:
    if weights is None:
        return None
    if len(weights) != 3:
        raise ValueError(f"weights are (w1, w2, w3), not {len(weights)} numbers")
    return float(weights[0]), float(weights[1]), float(weights[2])


def sample_widths(gamma: Tensor, *, tau: float = 1.0, hard: bool = True) -> Tensor:
    """Draw widths by Gumbel-Softmax: one draw for the supernet's forward and for its latency.

    Args:
        gamma: (…, X) logits.
        tau: temperature τ.
        hard: one-hot, with the soft draw's gradient (straight through).

    Returns:
        (…, X) probabilities; hand them to :class:`RelaxedLatency` with ``probabilities=("gamma",)``.
    """
    return F.gumbel_softmax(gamma, tau=tau, hard=hard, dim=-1)
