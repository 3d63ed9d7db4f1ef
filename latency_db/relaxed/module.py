"""The relaxed latency as a module (sections 3.2 and 3.3 of FasterSeg)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.relaxed.costs import costs
from latency_db.relaxed.kernel import ExpectedLatency, Plan, not_autocast
from latency_db.table import LatencyTable

FamilyName = Literal["alpha", "beta", "gamma"]
FAMILIES: tuple[FamilyName, ...] = ("alpha", "beta", "gamma")
SUM_TOLERANCE = 1e-2
"""Probabilities of one choice add up to 1 within this; half precision is not exact."""

Weights = tuple[float, float, float]
_expected_latency: Callable[[Plan, tuple[bool, bool, bool], Weights | None, Tensor, Tensor, Tensor], Tensor] = (
    ExpectedLatency.apply
)
"""(plan, which are logits, weights, α, β, γ (N, L, S, ·)) → (N, B): torch leaves ``apply`` untyped."""


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
        self._check_tensors(alpha, beta, gamma)
        known = FAMILIES if probabilities is True else probabilities or ()
        for name in known:
            if name not in given:
                raise ValueError(f"probabilities names {name!r}, which is none of {', '.join(FAMILIES)}")
            self._check_probabilities(name, given[name])
        dtype = torch.promote_types(torch.promote_types(alpha.dtype, beta.dtype), gamma.dtype)
        compute = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        leading: tuple[int, ...] = alpha.shape[:-3]
        if not leading == beta.shape[:-3] == gamma.shape[:-3]:
            try:
                leading = np.broadcast_shapes(leading, beta.shape[:-3], gamma.shape[:-3])
            except ValueError:
                raise ValueError(
                    f"the leading dimensions of alpha {tuple(alpha.shape)}, beta {tuple(beta.shape)} and gamma "
                    f"{tuple(gamma.shape)} do not broadcast"
                ) from None
        flat = (
            tensor.to(compute).expand(*leading, *shape).reshape(-1, *shape)
            for tensor, shape in zip(given.values(), shapes, strict=True)
        )
        are_logits = ("alpha" not in known, "beta" not in known, "gamma" not in known)
        if 0 in leading:
            # Nothing to compute, but still a part of the graph.
            nothing: Tensor = alpha.sum() + beta.sum() + gamma.sum()
            return nothing * alpha.new_zeros((*leading, len(self.branch_sets)))
        with not_autocast(alpha.device):
            value = _expected_latency(self._plan(compute, alpha.device), are_logits, _three(weights), *flat)
        return value.view(*leading, len(self.branch_sets)).to(dtype)

    def alpha_latency(self, alpha: Tensor, beta: Tensor, gamma: Tensor, **options: Any) -> Tensor:
        """latency(α|β,γ): the value of :meth:`forward`, with gradients for α alone."""
        value: Tensor = self(alpha, beta.detach(), gamma.detach(), **options)
        return value

    def beta_latency(self, alpha: Tensor, beta: Tensor, gamma: Tensor, **options: Any) -> Tensor:
        """latency(β|α,γ): the value of :meth:`forward`, with gradients for β alone."""
        value: Tensor = self(alpha.detach(), beta, gamma.detach(), **options)
        return value

    def gamma_latency(self, alpha: Tensor, beta: Tensor, gamma: Tensor, **options: Any) -> Tensor:
        """latency(γ|α,β): the value of :meth:`forward`, with gradients for γ alone."""
        value: Tensor = self(alpha.detach(), beta.detach(), gamma, **options)
        return value

    def softmax(self, alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The probabilities that :meth:`forward` makes of logits: over the choices that a cell has."""
        alpha, beta, gamma = self._offered(alpha, beta, gamma)
        return alpha.softmax(-1), beta.softmax(-1), gamma.softmax(-1)

    def one_hot(self, alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The most likely choice of each family as probabilities: what :meth:`forward` makes of the derived network."""
        alpha, beta, gamma = self._offered(alpha, beta, gamma)
        return _one_hot(alpha), _one_hot(beta), _one_hot(gamma)

    def _offered(self, alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The entries, −∞ where a cell does not have the choice."""
        self._check_tensors(alpha, beta, gamma)
        (alpha_open, alpha_logit, _), (beta_open, beta_logit, _), _ = self._plan(torch.float32, alpha.device).closed()
        return (
            torch.where(_outside(alpha_open), alpha, _outside(alpha_logit).to(alpha.dtype)),
            torch.where(_outside(beta_open), beta, _outside(beta_logit).to(beta.dtype)),
            gamma,
        )

    def _check_tensors(self, alpha: Tensor, beta: Tensor, gamma: Tensor) -> None:
        given = zip(FAMILIES, (alpha, beta, gamma), (self.alpha_shape, self.beta_shape, self.gamma_shape), strict=True)
        for name, tensor, shape in given:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name} is not a tensor but {type(tensor).__name__}")
            if tuple(tensor.shape[-3:]) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; its last three must be {shape}")
            if not tensor.is_floating_point():
                raise ValueError(f"{name} must be floating point, not {tensor.dtype}")
            if tensor.device != alpha.device:
                raise ValueError(f"{name} is on {tensor.device}, alpha on {alpha.device}")

    def _check_probabilities(self, family: FamilyName, tensor: Tensor) -> None:
        is_open = _outside(self._plan(torch.float32, tensor.device).closed()[FAMILIES.index(family)][0])
        value = tensor.detach()[..., : is_open.shape[0], :, :].float()
        # Written so that NaN is wrong, too.
        total = torch.where(is_open, value, 0.0).sum(-1)
        wrong = is_open.any(-1) & ~((total - 1).abs() <= SUM_TOLERANCE)
        wrong |= (is_open & ~(value >= -SUM_TOLERANCE)).any(-1)
        if bool(wrong.any()):
            *_, layer, scale = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{family} is said to be probabilities, but those of the cell at layer {layer}, s = "
                f"{self.scales[scale]} are not positive with a sum of 1 over the choices that it has "
                "(softmax() of this module makes probabilities of logits)"
            )

    def _plan(self, dtype: torch.dtype, device: torch.device) -> Plan:
        key = dtype, device
        if key not in self._plans:
            self._plans[key] = Plan.of(self._costs, dtype, device)
        return self._plans[key]

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{self.device_slug}, L={self.layers}, scales={self.scales}, b={len(self.branch_sets[0])}"


def _outside(mask: Tensor) -> Tensor:
    """(S, ·, L, 1) → (L, S, ·)."""
    return mask.squeeze(3).permute(2, 0, 1)


def _one_hot(logits: Tensor) -> Tensor:
    """The largest entry along the last dimension, as 1 in logits' dtype."""
    return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)


def _three(weights: Sequence[float] | None) -> Weights | None:
    if weights is None:
        return None
    if len(weights) != 3:
        raise ValueError(f"weights are (w1, w2, w3), not {len(weights)} numbers")
    return float(weights[0]), float(weights[1]), float(weights[2])


def sample_widths(
    gamma: Tensor, *, tau: float = 1.0, hard: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Draw widths by Gumbel-Softmax: one draw for the supernet's forward and for its latency.

    softmax((γ + o) / τ) with Gumbel noise o; the largest entry is each width's with probability softmax(γ).

    Args:
        gamma: (…, X) logits.
        tau: temperature τ.
        hard: one-hot, with the soft draw's gradient (straight through).
        generator: where the noise comes from, on its own device; torch's global generator by default.

    Returns:
        (…, X) probabilities; hand them to :class:`RelaxedLatency` with ``probabilities=("gamma",)``.

    Raises:
        ValueError: τ is not positive.
    """
    if not tau > 0:
        raise ValueError(f"the temperature τ is positive, not {tau}")
    device = gamma.device if generator is None else generator.device
    waiting = torch.empty(gamma.shape, dtype=gamma.dtype, device=device).exponential_(generator=generator)
    # An exponential of exactly zero, one in millions, would be infinite noise and a draw of NaN.
    noise = -waiting.clamp_min(torch.finfo(gamma.dtype).tiny).log().to(gamma.device)
    soft = ((gamma + noise) / tau).softmax(-1)
    # The difference is exactly zero, so that the draw is exactly one-hot.
    return _one_hot(soft) + (soft - soft.detach()) if hard else soft
