"""The relaxed latency is the exact expectation of the discrete prediction, and its gradient is right."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor

from latency_db.keys import ImageSize
from latency_db.lattice import CellKey
from latency_db.relaxed import RelaxedLatency, sample_widths
from latency_db.table import LatencyTable
from searcher.lattice import Choice
from searcher.space import FasterSegSpace
from tests.latency_db.tables import random_table

Families = tuple[Tensor, Tensor, Tensor]
SPACE = FasterSegSpace()


def logits(relaxed: RelaxedLatency, seed: int, *leading: int, scale: float = 1.0) -> Families:
    generator = torch.Generator().manual_seed(seed)
    shapes = (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    alpha, beta, gamma = (
        scale * torch.randn(*leading, *shape, dtype=torch.float64, generator=generator) for shape in shapes
    )
    return alpha, beta, gamma


def encoded(space: FasterSegSpace, choices: Mapping[CellKey, Choice], relaxed: RelaxedLatency) -> Families:
    """One-hot α, β, γ of one draw."""
    alpha, beta, gamma = (
        torch.zeros(shape, dtype=torch.float64)
        for shape in (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    )
    for (s, layer), choice in choices.items():
        scale = space.lattice.scales.index(s)
        alpha[layer, scale, relaxed.ops.index(choice.op)] = 1
        beta[layer, scale, 0 if choice.downsampled else 1] = 1
        if choice.chi is not None:
            gamma[layer, scale, relaxed.chis.index(choice.chi)] = 1
    return alpha, beta, gamma


def predicted_ms(
    table: LatencyTable, space: FasterSegSpace, choices: Mapping[CellKey, Choice], finals: tuple[int, ...]
) -> float:
    """The discrete prediction of the architecture that walking back gives."""
    architecture = space.architecture(choices, finals)
    return table.predict(space.decompose(architecture, table.image, table.batch)).latency_ms


def test_one_hot_is_the_prediction_of_the_architecture() -> None:
    table = random_table(SPACE)
    relaxed = RelaxedLatency(table)
    rng = random.Random(0)
    for _ in range(1000):
        choices, finals = SPACE.lattice.sample(rng)
        value = relaxed(*encoded(SPACE, choices, relaxed), probabilities=True)
        expected = predicted_ms(table, SPACE, choices, finals)
        assert float(value[relaxed.branch_sets.index(finals)]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"branches": 1},
        {"branches": 3},
        {"stem_widths": (16, 24, 40)},
        {"head_chi": 12, "output": "full"},
        {"layers": 3, "chis": (5,)},
        {"scales": (8,), "branches": 1, "layers": 5},
        {"scales": (8, 16), "branches": 2, "layers": 2},
        {"scales": (8, 16, 32, 64), "branches": 3, "layers": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("calibrated", [False, True], ids=["plain", "calibrated"])
def test_one_hot_whatever_the_space(settings: dict[str, object], calibrated: bool) -> None:
    space = FasterSegSpace(**settings)
    table = random_table(space, calibrated=calibrated)
    relaxed = RelaxedLatency(table)
    rng = random.Random(1)
    for _ in range(40):
        choices, _ = space.lattice.sample(rng)
        value = relaxed(*encoded(space, choices, relaxed), probabilities=True).tolist()
        expected = [predicted_ms(table, space, choices, finals) for finals in relaxed.branch_sets]
        assert value == pytest.approx(expected, rel=1e-9)


SMALL_OPS = ("skip", "conv")


def every_draw(space: FasterSegSpace) -> Iterator[dict[CellKey, Choice]]:
    """All joint choices of a lattice whose cells offer two operators and two widths."""
    lattice = space.lattice
    offered = []
    for cell in lattice.cells():
        last = lattice.is_last(cell)
        offered.append(
            [
                Choice(op, chi, downsampled)
                for op in (("conv",) if last else SMALL_OPS)
                for chi in ((None,) if last else lattice.chis)
                for downsampled in lattice.predecessors(cell)
            ]
        )
    for drawn in itertools.product(*offered):
        yield dict(zip(lattice.cells(), drawn, strict=True))


def skip_heavy(relaxed: RelaxedLatency, seed: int) -> Families:
    """Probabilities, of which the skip has most; operators that the small lattice lacks have none."""
    alpha, beta, gamma = logits(relaxed, seed)
    missing = torch.tensor([-math.inf if op not in SMALL_OPS else 2.0 * (op == "skip") for op in relaxed.ops])
    return relaxed.softmax(alpha + missing, beta, gamma)


def probabilities(
    space: FasterSegSpace, relaxed: RelaxedLatency, families: Families
) -> Callable[[Mapping[CellKey, Choice]], float]:
    """From a draw to its probability."""
    # As lists: an entry of a tensor takes ten times as long to read, and there are tens of thousands of draws.
    alpha, beta, gamma = (family.tolist() for family in families)
    scales, ops, chis = (
        {value: index for index, value in enumerate(values)}
        for values in (space.lattice.scales, relaxed.ops, relaxed.chis)
    )

    def probability(choices: Mapping[CellKey, Choice]) -> float:
        total = 1.0
        for (s, layer), choice in choices.items():
            scale = scales[s]
            total *= alpha[layer][scale][ops[choice.op]] * beta[layer][scale][0 if choice.downsampled else 1]
            if choice.chi is not None:
                total *= gamma[layer][scale][chis[choice.chi]]
        return total

    return probability


def test_the_value_is_what_enumeration_gives() -> None:
    """L = 4, two operators, two widths, all three numbers of branches: every architecture there is."""
    spaces = [FasterSegSpace(layers=4, chis=(4, 8), branches=b, stem_widths=(8, 8, 24)) for b in (1, 2, 3)]
    tables = [random_table(space) for space in spaces]
    modules = [RelaxedLatency(table) for table in tables]
    families = skip_heavy(modules[0], 5)
    sums: dict[tuple[int, ...], list[float]] = {finals: [] for module in modules for finals in module.branch_sets}
    masses = []
    probability = probabilities(spaces[0], modules[0], families)
    numbers: dict[object, int] = {}
    known: dict[tuple[int, ...], float] = {}
    for choices in every_draw(spaces[0]):
        mass = probability(choices)
        masses.append(mass)
        # Draws that differ only where no branch comes by are one architecture. The lattice is that of all three spaces.
        walked = {final: spaces[0].lattice.walk_back(choices, final) for final in spaces[0].lattice.scales}
        branch = {final: numbers.setdefault(walk, len(numbers)) for final, walk in walked.items()}
        for space, table, module in zip(spaces, tables, modules, strict=True):
            for finals in module.branch_sets:
                branches = tuple(branch[final] for final in finals)
                if branches not in known:
                    known[branches] = predicted_ms(table, space, choices, finals)
                sums[finals].append(mass * known[branches])
    assert math.fsum(masses) == pytest.approx(1, abs=1e-12)
    for module in modules:
        expected = [math.fsum(sums[finals]) for finals in module.branch_sets]
        value = module(*families, probabilities=True)
        assert value.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("branches", "n"), [(1, 40_000), (2, 200_000), (3, 40_000)])
def test_the_mean_over_random_draws_converges_to_it(branches: int, n: int) -> None:
    """n draws, each evaluated as a one-hot: that this is the discrete prediction is tested above."""
    chunk = 2_000
    relaxed = RelaxedLatency(random_table(FasterSegSpace(branches=branches)))
    families = relaxed.softmax(*logits(relaxed, branches, scale=1.5))
    generator = torch.Generator().manual_seed(branches)
    drawn = []
    for _ in range(n // chunk):
        hot = (
            torch.nn.functional.one_hot(
                torch.multinomial(p.flatten(0, -2), chunk, replacement=True, generator=generator), p.shape[-1]
            )
            .transpose(0, 1)
            .reshape(chunk, *p.shape)
            .float()
            for p in families
        )
        with torch.no_grad():
            drawn.append(relaxed(*hot, probabilities=True).double())
    values = torch.cat(drawn)
    error = values.std(0) / math.sqrt(n)
    expected = relaxed(*families, probabilities=True)
    assert ((values.mean(0) - expected).abs() < 4 * error).all()


@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize("calibrated", [False, True], ids=["plain", "calibrated"])
def test_gradients(branches: int, calibrated: bool) -> None:
    space = FasterSegSpace(layers=4, chis=(4, 8), branches=branches)
    relaxed = RelaxedLatency(random_table(space, calibrated=calibrated))
    families = tuple(tensor.requires_grad_() for tensor in logits(relaxed, 3))
    assert torch.autograd.gradcheck(relaxed, families)

    def of_probabilities(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
        value: Tensor = relaxed(*relaxed.softmax(alpha, beta, gamma), probabilities=True)
        return value

    assert torch.autograd.gradcheck(of_probabilities, families)


def test_gradients_at_full_size() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = tuple(tensor.requires_grad_() for tensor in logits(relaxed, 4, 2))
    assert torch.autograd.gradcheck(relaxed, families, fast_mode=True)


def test_logits_are_the_softmax_of_probabilities() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = logits(relaxed, 0, 3)
    value = relaxed(*families)
    assert torch.allclose(relaxed(*relaxed.softmax(*families), probabilities=True), value)
    alpha, beta, gamma = families
    mixed = relaxed(alpha, beta, gamma.softmax(-1), probabilities=("gamma",))
    assert torch.allclose(mixed, value)


def test_what_a_cell_does_not_have_is_ignored() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    alpha, beta, gamma = (tensor.requires_grad_() for tensor in logits(relaxed, 0))
    relaxed(alpha, beta, gamma).sum().backward()
    assert alpha.grad is not None and beta.grad is not None and gamma.grad is not None
    for layer, scale in ((0, 1), (0, 2), (1, 2)):
        for grad in (alpha.grad, beta.grad, gamma.grad):
            assert not grad[layer, scale].any(), "a cell that does not exist"
    assert not alpha.grad[-1, :, relaxed.ops.index("skip")].any(), "the last layer offers no skip"
    assert not gamma.grad[-1].any(), "the last layer emits the head's width"
    assert not beta.grad[:, 0].any() and not beta.grad[1, 1].any() and not beta.grad[2, 2].any(), "one predecessor"
    assert alpha.grad[3, 1].any() and beta.grad[3, 1].any() and gamma.grad[3, 1].any()


def test_decoupled_weights_scale_each_familys_gradient() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    plain = [tensor.requires_grad_() for tensor in logits(relaxed, 1)]
    value = relaxed(*plain).mean()
    value.backward()
    weights = (0.001, 0.997, 0.002)
    weighted = [tensor.requires_grad_() for tensor in logits(relaxed, 1)]
    decoupled = relaxed(*weighted, weights=weights).mean()
    decoupled.backward()
    assert decoupled.item() == pytest.approx(value.item())
    for weight, one, other in zip(weights, plain, weighted, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.allclose(weight * one.grad, other.grad)


def test_each_decoupled_term_reaches_one_family() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    for own, method in enumerate((relaxed.alpha_latency, relaxed.beta_latency, relaxed.gamma_latency)):
        families = [tensor.requires_grad_() for tensor in logits(relaxed, 2)]
        method(*families).sum().backward()
        assert [tensor.grad is not None for tensor in families] == [number == own for number in range(3)]


def test_a_hard_draw_of_widths_gets_gradients() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    alpha, beta, gamma = (tensor.requires_grad_() for tensor in logits(relaxed, 2))
    torch.manual_seed(0)
    widths = sample_widths(gamma, tau=0.5)
    assert set(widths.unique().tolist()) == {0.0, 1.0}
    relaxed(alpha, beta, widths, probabilities=("gamma",)).mean().backward()
    assert gamma.grad is not None and gamma.grad[:-1].any()


def test_batches_and_leading_dimensions() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    alpha, beta, gamma = logits(relaxed, 0, 2, 3)
    value = relaxed(alpha, beta, gamma)
    assert value.shape == (2, 3, 3)
    one = torch.stack([torch.stack([relaxed(alpha[i, j], beta[i, j], gamma[i, j]) for j in range(3)]) for i in (0, 1)])
    assert torch.allclose(value, one)
    assert torch.allclose(relaxed(alpha, beta[0, 0], gamma[0])[1, 2], relaxed(alpha[1, 2], beta[0, 0], gamma[0, 2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = logits(relaxed, 0)
    exact = relaxed(*families)
    value = relaxed(*(tensor.to(dtype) for tensor in families))
    assert value.dtype == dtype
    assert torch.allclose(value.double(), exact, rtol=1e-2 if dtype.itemsize == 2 else 1e-5)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = logits(relaxed, 0, 4)
    here = [tensor.clone().requires_grad_() for tensor in families]
    there = [tensor.cuda().requires_grad_() for tensor in families]
    relaxed(*here).sum().backward()
    value = relaxed(*there)
    value.sum().backward()
    assert torch.allclose(value.cpu(), relaxed(*families))
    for one, other in zip(here, there, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.allclose(other.grad.cpu(), one.grad)


def test_second_order_is_refused() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = [tensor.requires_grad_() for tensor in logits(relaxed, 0)]
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(relaxed(*families).sum(), families[0], create_graph=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b, g: (a[..., :-1], b, g), "alpha has shape"),
        (lambda a, b, g: (a, b[1:], g), "beta has shape"),
        (lambda a, b, g: (a, b, g.long()), "gamma must be floating point"),
        (lambda a, b, g: (a.expand(2, -1, -1, -1), b.expand(3, -1, -1, -1), g), "broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(change: object, message: str) -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    with pytest.raises(ValueError, match=message):
        relaxed(*change(*logits(relaxed, 0)))


def test_logits_passed_as_probabilities_are_refused() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    for family in ("alpha", "beta", "gamma"):
        with pytest.raises(ValueError, match=f"{family} is said to be probabilities"):
            relaxed(*logits(relaxed, 0), probabilities=(family,))
    with pytest.raises(ValueError, match="delta"):
        relaxed(*logits(relaxed, 0), probabilities=("delta",))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_whatever_stands_where_there_is_no_choice_does_no_harm(value: float) -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = logits(relaxed, 0)
    for given in (families, relaxed.softmax(*families)):
        expected = relaxed(*given, probabilities=given is not families)
        alpha, beta, gamma = (tensor.clone() for tensor in given)
        alpha[0, 1:], beta[0, 1:], gamma[0, 1:], beta[:, 0], gamma[-1] = (value,) * 5
        alpha[-1, :, relaxed.ops.index("skip")] = value
        found = [tensor.requires_grad_() for tensor in (alpha, beta, gamma)]
        result = relaxed(*found, probabilities=given is not families)
        assert torch.equal(result, expected)
        result.sum().backward()
        for tensor in found:
            assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_nan_is_no_probability() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    alpha, beta, gamma = relaxed.softmax(*logits(relaxed, 0))
    gamma[3, 1, 2] = math.nan
    with pytest.raises(ValueError, match=r"gamma .* layer 3, s = 16"):
        relaxed(alpha, beta, gamma, probabilities=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    plain = [tensor.float().requires_grad_() for tensor in logits(relaxed, 0)]
    relaxed(*plain).sum().backward()
    cast = [tensor.float().requires_grad_() for tensor in logits(relaxed, 0)]
    with torch.autocast("cpu", dtype=dtype):
        value = relaxed(*cast)
        assert value.dtype == torch.float32
        value.sum().backward()
    for one, other in zip(plain, cast, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_an_empty_batch() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = [tensor.requires_grad_() for tensor in logits(relaxed, 0, 0, 5)]
    value = relaxed(*families)
    assert value.shape == (0, 5, 3)
    value.sum().backward()


def test_a_second_way_back_needs_the_graph() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    families = [tensor.requires_grad_() for tensor in logits(relaxed, 0)]
    value = relaxed(*families).sum()
    value.backward(retain_graph=True)
    value.backward()
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


def test_a_temperature_is_positive() -> None:
    with pytest.raises(ValueError, match="temperature"):
        sample_widths(torch.zeros(5), tau=0.0)


def test_a_generator_decides_the_widths_alone() -> None:
    gamma = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = sample_widths(gamma, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(sample_widths(gamma, generator=torch.Generator().manual_seed(7)), first)
    assert not torch.equal(sample_widths(gamma, generator=torch.Generator().manual_seed(8)), first)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(sample_widths(gamma, generator=generator), first)
    assert not torch.equal(sample_widths(gamma, generator=generator), first)


@pytest.mark.parametrize("tau", [0.1, 1.0, 5.0])
def test_widths_are_drawn_as_often_as_the_softmax_says(tau: float) -> None:
    gamma = torch.tensor([1.0, -1.0, 0.0, 2.5, -3.0], dtype=torch.float64)
    n = 40_000
    draws = sample_widths(gamma.expand(n, 5), tau=tau, generator=torch.Generator().manual_seed(3))
    assert set(draws.unique().tolist()) == {0.0, 1.0} and torch.equal(draws.sum(-1), torch.ones(n, dtype=draws.dtype))
    expected = gamma.softmax(-1)
    standard_error = (expected * (1 - expected) / n).sqrt()
    assert ((draws.mean(0) - expected).abs() < 4 * standard_error).all()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_draws_and_gradients_are_those_of_gumbel_softmax(hard: bool, tau: float) -> None:
    gamma = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for draw in (
        lambda logits: sample_widths(logits, tau=tau, hard=hard),
        lambda logits: sample_widths(logits.log_softmax(-1), tau=tau, hard=hard),
        lambda logits: torch.nn.functional.gumbel_softmax(logits, tau=tau, hard=hard, dim=-1),
    ):
        torch.manual_seed(5)
        logits = gamma.clone().requires_grad_()
        value = draw(logits)
        (value * weights).sum().backward()
        found.append((value.detach(), logits.grad))
    (value, gradient), *others = found
    assert gradient.any()
    for other_value, other_gradient in others:
        assert torch.allclose(value, other_value) and torch.allclose(gradient, other_gradient)


def test_noise_of_zero_is_no_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "exponential_", lambda self, generator=None: self.zero_())
    assert sample_widths(torch.zeros(5), hard=False).isfinite().all()


def test_most_likely_choices() -> None:
    relaxed = RelaxedLatency(random_table(SPACE))
    alpha, beta, gamma = relaxed.one_hot(*logits(relaxed, 7))
    assert relaxed(alpha, beta, gamma, probabilities=True).isfinite().all()
    assert not alpha[-1, :, relaxed.ops.index("skip")].any()


def test_image_sizes_off_the_grid() -> None:
    table = random_table(SPACE, image=ImageSize(360, 470))
    relaxed = RelaxedLatency(table)
    choices, finals = SPACE.lattice.sample(random.Random(3))
    value = relaxed(*encoded(SPACE, choices, relaxed), probabilities=True)
    expected = predicted_ms(table, SPACE, choices, finals)
    assert float(value[relaxed.branch_sets.index(finals)]) == pytest.approx(expected)
