"""The exact expectation and its gradient, both written out. Torch.

Notation: N architectures at once, L layers, S scales, O operators, X widths, D slots of what reaches a cell
(:class:`latency_db.relaxed.costs.Inputs`), V sets of scales, B branch sets. α (N, L, S, O), β (N, L, S, 2) and
γ (N, L, S, X) are probabilities here. Inside, they are (S, ·, L, N): what is summed over lies outside, what is done to
all alike inside, which is what vector units want.

Four steps, each a few calls over all cells at once, because a search asks for one architecture at a time and every call
costs microseconds:

1. *What reaches a cell.* q(s, l), its slots' probabilities. A skip at stride 1 passes on what reached it:

       q(s, l+1) = β¹(s, l+1) · [α_skip(s, l) · q(s, l) + emitted at stride 1 by (s, l)]
                 + β⁰(s, l+1) · [emitted at stride 2 by (s/2, l)]

   a linear recurrence along each scale with a scalar coefficient.
2. *What an edge costs.* c(s, l, t) = Σ_{o,x,d} α_o γ_x q_d · cost[s, t, o, x, d], widths and producers apart, for a
   pair's term knows no widths. The cell's own choices and what reaches it are independent, for they belong to different
   cells; and so is whether the edge is used, which only β of later layers decides.
3. *Whether it is used.* v_l(U), the expected cost of everything before layer l if the branches use the set U there,
   follows from v_{l−1} by one step of the chain over sets (:class:`latency_db.relaxed.chain.Chain`). A decoder is not
   shared: its costs follow the same chain started from single scales.
4. *Final cells and constants.*

Backwards the same steps are run in reverse; v's adjoint is the probability that a set is in use.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latency_db.relaxed.chain import FINER, OWN, Chain
from latency_db.relaxed.costs import Costs

Family = int
ALPHA, BETA, GAMMA = range(3)


@dataclass(frozen=True)
class Plan:
    """The costs as tensors of one dtype on one device, and what masks the choices that are not there.

    Attributes:
        cell: (S, 2·W, O·X) by the width that comes in, W of the D slots; ``cell_t`` its transpose.
        pair: (S, 2·O, D − W) by the producer; ``pair_t`` its transpose.
        last: (S, O, D); ``last_t`` its transpose.
        end: (S, O, 1).
        merge: (S, 1, D).
        source: (D, 1).
        constant: (B,).
        gather: (2·S, V·2) from what edges and merges cost to the sets that pay for it.
        final: (V·2, B) and ``final_last`` (S, B): which sets' values and final cells make up a branch set's.
        factors: of the chain's moves; ``moves`` (T, V·V) places them in the transition matrix, where move t is at
            position ``stop[t]``.
        scatter: (T·(S − 1), 2·S) from the moves' factors back to the choices.
        alpha_open, beta_open, gamma_open: (S, ·, L, 1) whether there is such a choice; ``…_logit`` and ``…_fill`` are
            what stands there, as a logit and as a probability, where there is none.
        producer_mask: (O, 1, 1) 0 for the skip; None without producers.
    """

    layers: int
    skip: int | None
    widths: int
    n_sets: int
    source: Tensor
    cell: Tensor
    cell_t: Tensor
    pair: Tensor
    pair_t: Tensor
    last: Tensor
    last_t: Tensor
    end: Tensor
    merge: Tensor
    constant: Tensor
    gather: Tensor
    final: Tensor
    final_last: Tensor
    stop: Tensor
    factors: tuple[Tensor, ...]
    moves: Tensor
    scatter: Tensor
    alpha_open: Tensor
    alpha_logit: Tensor
    alpha_fill: Tensor
    beta_open: Tensor
    beta_logit: Tensor
    beta_fill: Tensor
    gamma_open: Tensor
    gamma_logit: Tensor
    gamma_fill: Tensor
    producer_mask: Tensor | None

    def closed(self) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """Of α, β and γ: whether there is a choice, and what stands there if not, as logit and as probability."""
        return (
            (self.alpha_open, self.alpha_logit, self.alpha_fill),
            (self.beta_open, self.beta_logit, self.beta_fill),
            (self.gamma_open, self.gamma_logit, self.gamma_fill),
        )

    @classmethod
    def of(cls, costs: Costs, dtype: torch.dtype, device: torch.device) -> Plan:
        """Make the tensors."""

        def real(array: np.ndarray[Any, Any]) -> Tensor:
            return torch.tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

        def index(array: np.ndarray[Any, Any]) -> Tensor:
            return torch.tensor(np.ascontiguousarray(array), dtype=torch.int64, device=device)

        lattice = costs.lattice
        n_scales, n_ops = len(lattice.scales), len(lattice.ops)
        chain = Chain.of(n_scales)
        n_sets, n_moves = len(chain.sets), len(chain.start)

        gather = np.zeros((2, n_scales, n_sets, 2))
        gather[0, :, :, 0] = chain.member
        for scale in range(n_scales):
            gather[1, scale, chain.number((scale,)), 1] = 1
        moves = np.zeros((n_moves, n_sets, n_sets))
        moves[np.arange(n_moves), chain.start, chain.end] = 1
        scatter = np.zeros((len(chain.factors), n_moves, 2 * n_scales))
        for number, factor in enumerate(chain.factors):
            scatter[number, np.arange(n_moves), factor] = 1

        branch_sets = lattice.branch_sets()
        final = np.zeros((n_sets, 2, len(branch_sets)))
        final_last = np.zeros((n_scales, len(branch_sets)))
        for number, finals in enumerate(branch_sets):
            chosen = tuple(lattice.scales.index(s) for s in finals)
            final[chain.number(chosen), 0, number] = 1
            for scale in chosen:
                final[chain.number((scale,)), 1, number] = 1
                final_last[scale, number] = 1

        alpha_open = np.ones((n_scales, n_ops, lattice.layers, 1), dtype=bool)
        beta_open = np.ones((n_scales, 2, lattice.layers, 1), dtype=bool)
        gamma_open = np.ones((n_scales, len(lattice.chis), lattice.layers - 1, 1), dtype=bool)
        beta_fill = np.zeros(beta_open.shape)
        skip = lattice.ops.index(lattice.skip) if lattice.skip is not None else None
        if skip is not None:
            alpha_open[:, skip, -1] = False
        for scale, s in enumerate(lattice.scales):
            for layer in range(lattice.layers):
                # A cell that does not exist is as its scale's first: nothing ever comes from it.
                offered = lattice.predecessors((s, max(layer, scale)))
                if len(offered) == 1:
                    beta_open[scale, :, layer] = False
                    beta_fill[scale, FINER if offered[0] else OWN, layer] = 1
        # Uniform rather than nothing where there is no cell: a softmax of nothing is no number.
        alpha_logit = np.where(alpha_open, 0.0, -np.inf)
        with np.errstate(divide="ignore"):
            beta_logit = np.log(beta_fill)
        for scale in range(n_scales):
            alpha_open[scale, :, :scale] = False
            gamma_open[scale, :, :scale] = False

        widths = costs.inputs.widths
        cell_t = costs.cell[..., :widths].transpose(0, 2, 3, 1, 4).reshape(n_scales, -1, 2 * widths)
        pair = costs.cell[:, :, :, 0, widths:].reshape(n_scales, 2 * n_ops, -1)
        producer_mask = None
        if costs.inputs.producers:
            producer_mask = np.ones(n_ops)
            if skip is not None:
                producer_mask[skip] = 0
        return cls(
            layers=lattice.layers,
            skip=skip,
            widths=costs.inputs.widths,
            n_sets=n_sets,
            source=real(costs.source[:, None]),
            cell=real(cell_t.transpose(0, 2, 1)),
            cell_t=real(cell_t),
            pair=real(pair),
            pair_t=real(pair.transpose(0, 2, 1)),
            last=real(costs.last),
            last_t=real(costs.last.transpose(0, 2, 1)),
            end=real(costs.end[:, :, None]),
            merge=real(costs.merge[:, None]),
            constant=real(costs.constant),
            gather=real(gather.reshape(2 * n_scales, 2 * n_sets)),
            final=real(final.reshape(2 * n_sets, -1)),
            final_last=real(final_last),
            stop=index(chain.start * n_sets + chain.end),
            factors=tuple(index(factor) for factor in chain.factors),
            moves=real(moves.reshape(n_moves, -1)),
            scatter=real(scatter.reshape(-1, 2 * n_scales)),
            alpha_open=torch.tensor(alpha_open, device=device),
            alpha_logit=real(alpha_logit),
            alpha_fill=real(np.zeros(())),
            beta_open=torch.tensor(beta_open, device=device),
            beta_logit=real(beta_logit),
            beta_fill=real(beta_fill),
            gamma_open=torch.tensor(gamma_open, device=device),
            gamma_logit=real(np.zeros(())),
            gamma_fill=real(np.zeros(())),
            producer_mask=real(producer_mask[:, None, None]) if producer_mask is not None else None,
        )


@dataclass
class _State:
    """What the way back needs of the way there. Names as in the module's text."""

    alpha: Tensor
    beta: Tensor
    gamma: Tensor
    keep: Tensor
    pass_on: Tensor
    emit: Tensor
    reached: Tensor
    by_slot: Tensor
    by_op: Tensor | None
    cost: Tensor
    merge_cost: Tensor
    transition: Tensor
    last_cost: Tensor
    picked: list[Tensor]
    values: list[Tensor]

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them in one row."""
        return (
            *(self.alpha, self.beta, self.gamma, self.keep, self.pass_on, self.emit, self.reached, self.by_slot),
            *(self.by_op, self.cost, self.merge_cost, self.transition, self.last_cost, *self.picked, *self.values),
        )

    @classmethod
    def of(cls, tensors: tuple[Any, ...], factors: int) -> _State:
        """From that row."""
        fixed, lists = tensors[:13], tensors[13:]
        return cls(*(*fixed, list(lists[:factors]), list(lists[factors:])))


def _forward(plan: Plan, alpha: Tensor, beta: Tensor, gamma: Tensor) -> tuple[Tensor, _State]:
    """(N, B) values; α (S, O, L, N), β (S, 2, L, N), γ (S, X, L − 1, N)."""
    n_scales, n_ops, layers, n = alpha.shape
    n_widths, n_slots, inner = gamma.shape[1], plan.source.shape[0], alpha[:, :, :-1]

    # 1. What reaches a cell.
    finer, own = beta[:, FINER : FINER + 1, 1:], beta[:, OWN : OWN + 1, 1:]
    keep = torch.zeros_like(own) if plan.skip is None else inner[:, plan.skip : plan.skip + 1]
    pass_on = own * keep
    emit = own - pass_on
    reached = alpha.new_zeros((n_scales, n_slots, layers, n))
    reached[0, :, 0] = plan.source
    arrives = reached[:, :, 1:]
    torch.mul(emit, gamma, out=arrives[:, :n_widths])
    arrives[1:, :n_widths].addcmul_(finer[1:], gamma[:-1])
    if plan.producer_mask is not None:
        first, second = plan.widths, plan.widths + n_ops
        torch.mul(own, inner * plan.producer_mask, out=arrives[:, first:second])
        torch.mul(finer[1:], inner[:-1], out=arrives[1:, second : second + n_ops])
    rows, coefficients = reached.unbind(2), pass_on.unbind(2)
    for layer in range(1, layers):
        rows[layer].addcmul_(coefficients[layer - 1], rows[layer - 1])

    # 2. What an edge costs.
    before = reached[:, :, :-1].reshape(n_scales, n_slots, -1)
    choices = (inner.unsqueeze(2) * gamma.unsqueeze(1)).view(n_scales, n_ops * n_widths, -1)
    by_slot = torch.bmm(plan.cell, choices).view(n_scales, 2, plan.widths, -1)
    cost = (by_slot * before[:, None, : plan.widths]).sum(2)
    by_op = None
    if plan.producer_mask is not None:
        by_op = torch.bmm(plan.pair, before[:, plan.widths :]).view(n_scales, 2, n_ops, -1)
        cost += (by_op * inner.reshape(n_scales, 1, n_ops, -1)).sum(2)
    cost = cost.view(n_scales, 2, layers - 1, n)
    merge_cost = torch.bmm(plan.merge, before).view(n_scales, layers - 1, n)

    # 3. Whether it is used. Sets of scales come last here: small matrices, one per layer and architecture.
    finer, own = finer.squeeze(1), own.squeeze(1)
    paid = cost.new_zeros((2 * n_scales, layers - 1, n))
    torch.mul(own, cost[:, 0], out=paid[:n_scales])
    paid[1:n_scales].addcmul_(finer[1:], cost[:-1, 1])
    torch.mul(finer[1:], merge_cost[:-1], out=paid[n_scales + 1 :])
    by_set = (paid.view(2 * n_scales, -1).t() @ plan.gather).view(layers - 1, n, plan.n_sets, 2)
    draws = beta[:, :, 1:].permute(2, 3, 1, 0).reshape(-1, 2 * n_scales)
    picked = [draws.index_select(1, factor) for factor in plan.factors]
    joint = picked[0] if picked else draws.new_ones((draws.shape[0], plan.moves.shape[0]))
    for factor in picked[1:]:
        joint = joint * factor
    transition = (joint @ plan.moves).view(layers - 1, n, plan.n_sets, plan.n_sets)
    steps, pays = transition.unbind(0), by_set.unbind(0)
    values = [pays[0]]
    for layer in range(1, layers - 1):
        values.append(torch.baddbmm(pays[layer], steps[layer], values[-1]))

    # 4. Final cells and constants.
    last_cost = torch.baddbmm(plan.end, plan.last, reached[:, :, -1])
    finals = (last_cost * alpha[:, :, -1]).sum(1)
    total = torch.addmm(plan.constant, values[-1].reshape(n, -1), plan.final)
    total = torch.addmm(total, finals.t(), plan.final_last)
    state = _State(
        alpha, beta, gamma, keep, pass_on, emit, reached, by_slot, by_op, cost, merge_cost, transition, last_cost,
        picked, values,
    )  # fmt: skip
    return total, state


def _backward(plan: Plan, state: _State, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of α (S, O, L, N), β (S, 2, L, N) and γ (S, X, L − 1, N) for that of the values, (N, B)."""
    alpha, beta, gamma, reached = state.alpha, state.beta, state.gamma, state.reached
    n_scales, n_ops, layers, n = alpha.shape
    n_widths, n_slots, inner = gamma.shape[1], plan.source.shape[0], alpha[:, :, :-1]
    finer, own = beta[:, FINER, 1:], beta[:, OWN, 1:]
    d_alpha, d_reached, d_beta = torch.empty_like(alpha), torch.empty_like(reached), torch.zeros_like(beta)
    d_finer, d_own = d_beta[:, FINER, 1:], d_beta[:, OWN, 1:]

    # 4. Final cells.
    d_final = (grad @ plan.final_last.t()).t().unsqueeze(1)
    torch.mul(state.last_cost, d_final, out=d_alpha[:, :, -1])
    d_reached[:, :, -1] = torch.bmm(plan.last_t, alpha[:, :, -1] * d_final)

    # 3. The probability that a set is in use, weighted by what is asked of each branch set.
    used = (grad @ plan.final.t()).view(n, plan.n_sets, 2)
    in_use = [used]
    steps = state.transition.unbind(0)
    for layer in range(layers - 2, 0, -1):
        used = torch.bmm(steps[layer].transpose(1, 2), used)
        in_use.append(used)
    in_use.reverse()
    d_sets = torch.stack(in_use)
    if len(state.values) > 1 and state.picked:
        later, values = d_sets[1:].flatten(0, 1), torch.stack(state.values[:-1]).flatten(0, 1)
        d_moves = torch.bmm(later, values.transpose(1, 2)).flatten(1).index_select(1, plan.stop)
        rest = [factor[n:] for factor in state.picked]
        # Each factor's gradient is the product of the others.
        d_factors = [_times(d_moves, [other for other in rest if other is not one]) for one in rest]
        d_draws = (torch.cat(d_factors, 1) @ plan.scatter).view(layers - 2, n, 2, n_scales)
        d_beta[:, :, 2:] = d_draws.permute(3, 2, 0, 1)
    d_paid = (plan.gather @ d_sets.view(-1, 2 * plan.n_sets).t()).view(2 * n_scales, layers - 1, n)
    d_edge, d_merge = d_paid[:n_scales], d_paid[n_scales + 1 :]
    d_own.addcmul_(d_edge, state.cost[:, 0])
    d_finer[1:].addcmul_(d_edge[1:], state.cost[:-1, 1]).addcmul_(d_merge, state.merge_cost[:-1])
    d_cost = torch.empty_like(state.cost)
    torch.mul(d_edge, own, out=d_cost[:, 0])
    d_cost[-1, 1] = 0
    torch.mul(d_edge[1:], finer[1:], out=d_cost[:-1, 1])
    d_merge_cost = torch.zeros_like(state.merge_cost)
    torch.mul(d_merge, finer[1:], out=d_merge_cost[:-1])

    # 2. What an edge costs.
    d_cost = d_cost.view(n_scales, 2, 1, -1)
    before = reached[:, : plan.widths, :-1].reshape(n_scales, 1, plan.widths, -1)
    d_before = d_reached[:, :, :-1]
    d_before[:, : plan.widths] = (state.by_slot * d_cost).sum(1).view(n_scales, plan.widths, layers - 1, n)
    d_choices = torch.bmm(plan.cell_t, (d_cost * before).view(n_scales, 2 * plan.widths, -1))
    d_choices = d_choices.view(n_scales, n_ops, n_widths, layers - 1, n)
    d_inner = d_alpha[:, :, :-1]
    torch.sum(d_choices * gamma.unsqueeze(1), 2, out=d_inner)
    d_gamma = (d_choices * inner.unsqueeze(2)).sum(1)
    if state.by_op is not None:
        d_inner += (state.by_op * d_cost).sum(1).view(n_scales, n_ops, layers - 1, n)
        d_by_op = (inner.reshape(n_scales, 1, n_ops, -1) * d_cost).view(n_scales, 2 * n_ops, -1)
        d_before[:, plan.widths :] = torch.bmm(plan.pair_t, d_by_op).view(n_scales, -1, layers - 1, n)
    d_before.addcmul_(plan.merge.view(n_scales, n_slots, 1, 1), d_merge_cost.unsqueeze(1))

    # 1. What reaches a cell.
    rows, coefficients = d_reached.unbind(2), state.pass_on.unbind(2)
    for layer in range(layers - 2, -1, -1):
        rows[layer].addcmul_(coefficients[layer], rows[layer + 1])
    d_arrives = d_reached[:, :, 1:]
    d_width = d_arrives[:, :n_widths]
    d_emit = (d_width * gamma).sum(1)
    d_gamma.addcmul_(state.emit, d_width)
    d_gamma[:-1].addcmul_(finer[1:].unsqueeze(1), d_width[1:])
    d_finer[1:] += (d_width[1:] * gamma[:-1]).sum(1)
    # emit = own · (1 − keep), pass_on = own · keep
    d_own += d_emit
    if plan.skip is not None:
        d_kept = (d_arrives * reached[:, :, :-1]).sum(1) - d_emit
        d_own.addcmul_(d_kept, state.keep.squeeze(1))
        d_inner[:, plan.skip].addcmul_(d_kept, own)
    if plan.producer_mask is not None:
        first, second = plan.widths, plan.widths + n_ops
        d_first = d_arrives[:, first:second] * plan.producer_mask
        d_own += (d_first * inner).sum(1)
        d_inner.addcmul_(d_first, own.unsqueeze(1))
        d_second = d_arrives[1:, second : second + n_ops]
        d_finer[1:] += (d_second * inner[:-1]).sum(1)
        d_inner[:-1].addcmul_(d_second, finer[1:].unsqueeze(1))
    return d_alpha, d_beta, d_gamma


def _probabilities(family: Tensor, is_open: Tensor, logit: Tensor, fill: Tensor, logits: bool) -> Tensor:
    """What is there of a family, whatever stands where there is no choice: NaN and infinities do no harm there."""
    return torch.softmax(torch.where(is_open, family, logit), 1) if logits else torch.where(is_open, family, fill)


def not_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Latencies are sums of many small numbers: never in half precision, whatever the caller's model runs in."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _inside(family: Tensor) -> Tensor:
    """(N, L, S, ·) → (S, ·, L, N), a contiguous copy: the caller's own tensor may change before the way back."""
    return family.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format)


def _times(first: Tensor, others: list[Tensor]) -> Tensor:
    for other in others:
        first = first * other
    return first


class ExpectedLatency(torch.autograd.Function):
    """(N, B) expected latencies in ms of α (N, L, S, O), β (N, L, S, 2), γ (N, L, S, X), logits or probabilities.

    ``weights`` (w1, w2, w3) multiply the gradients of α, β and γ; the value is their sum times the latency.
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        are_logits: tuple[bool, bool, bool],
        weights: tuple[float, float, float] | None,
        alpha: Tensor,
        beta: Tensor,
        gamma: Tensor,
    ) -> Tensor:
        """Run the four steps."""
        given = zip((alpha, beta, gamma[:, :-1]), plan.closed(), are_logits, strict=True)
        a, b, g = (_probabilities(_inside(family), *closed, logits) for family, closed, logits in given)
        total, state = _forward(plan, a, b, g)
        # By autograd, which frees them with the graph and refuses a second way back without them.
        ctx.save_for_backward(*state.tensors())
        ctx.plan, ctx.are_logits, ctx.weights = plan, are_logits, weights
        return total if weights is None else total * sum(weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Run them in reverse."""
        if torch.is_grad_enabled():
            # With create_graph=True a gradient's own gradient is wanted; without this it would silently be zero.
            raise RuntimeError("the relaxed latency has first derivatives only: not for create_graph=True")
        plan = ctx.plan
        state = _State.of(ctx.saved_tensors, len(plan.factors))
        with not_autocast(grad.device):
            d_alpha, d_beta, d_gamma = _backward(plan, state, grad)
        weights: tuple[float, float, float] | None = ctx.weights
        out: list[Tensor | None] = [None, None, None]
        pairs = ((d_alpha, state.alpha), (d_beta, state.beta), (d_gamma, state.gamma))
        for family, (d, p) in enumerate(pairs):
            if not ctx.needs_input_grad[3 + family]:
                continue
            if ctx.are_logits[family]:
                d = torch._softmax_backward_data(d, p, 1, p.dtype)
            else:
                d = d * plan.closed()[family][0]
            if weights is not None:
                d = d * weights[family]
            if family == GAMMA:
                d = torch.nn.functional.pad(d, (0, 0, 0, 1))
            out[family] = d.permute(3, 2, 0, 1)
        return (None, None, None, *out)
