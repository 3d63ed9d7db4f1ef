"""The steps of the search: what each changes, what none leaves behind, and what they descend."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from searcher.constraint import FixedFactor, SteeredMultiplier
from searcher.cosearch import PRETRAIN_PASSES, SEARCH_PASSES, CoSearch, Losses, Step
from searcher.draw import Draw
from searcher.supernet import Supernet
from tests.searcher.searches import same, tiny_assembly, values
from trainer.data import Batch
from trainer.losses import OhemCrossEntropy


@pytest.fixture
def search() -> CoSearch:
    return tiny_assembly().search


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 10, (2, 64, 96), generator=generator)
    label[:, :5] = 255
    return Batch(torch.randn(2, 3, 64, 96, generator=generator), label)


def sgd(search: CoSearch, rate: float = 0.05) -> torch.optim.SGD:
    return torch.optim.SGD(search.supernet.parameters(), lr=rate, momentum=0.9)


def adam(search: CoSearch, rate: float = 0.05) -> torch.optim.Adam:
    return torch.optim.Adam(search.parameters.parameters(), lr=rate)


def statistics(supernet: Supernet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in supernet.named_buffers()}


@pytest.mark.parametrize("phase", ["pretrain", "search"])
def test_a_step_of_the_weights_changes_the_weights_alone(search: CoSearch, phase: str) -> None:
    weights, architecture = values(search.supernet), values(search.parameters)
    losses = search.weight_step(batch(), sgd(search), phase, Step(0, 0))
    assert losses.segmentation > 0
    assert not same(values(search.supernet), weights)
    assert same(values(search.parameters), architecture)


def test_a_step_of_the_architecture_changes_alpha_beta_gamma_alone(search: CoSearch) -> None:
    weights, architecture = values(search.supernet), values(search.parameters)
    losses = search.architecture_step(batch(), adam(search), Step(0, 0))
    assert losses.latency_ms > 0
    # Weights and what the norms remember, to the last bit.
    assert same(values(search.supernet), weights)
    changed = values(search.parameters)
    assert all(not torch.equal(changed[name], value) for name, value in architecture.items())


def test_no_gradient_of_one_step_reaches_the_other(search: CoSearch) -> None:
    search.architecture_step(batch(1), adam(search), Step(0, 0))
    assert all(parameter.grad is None for parameter in search.supernet.parameters())
    assert all(parameter.requires_grad for parameter in search.supernet.parameters())
    search.weight_step(batch(2), sgd(search), "search", Step(0, 1))
    assert all(parameter.grad is None for parameter in search.parameters.parameters())
    assert all(parameter.grad is None for parameter in search.supernet.parameters())


def test_the_weights_step_is_the_same_whatever_the_architecture_saw_before() -> None:
    """Two searches whose steps of the architecture see other images, but do not move: their weights agree exactly."""
    ends = []
    for seed in (5, 6):
        search = tiny_assembly().search
        optimizer, still = sgd(search), adam(search, rate=0.0)
        for number in range(2):
            search.architecture_step(batch(seed + number), still, Step(0, number))
            search.weight_step(batch(1), optimizer, "search", Step(0, number))
        ends.append(values(search.supernet))
    assert same(*ends)


def test_the_architecture_step_is_the_same_whatever_the_weights_saw_before() -> None:
    ends = []
    for seed in (5, 6):
        search = tiny_assembly().search
        optimizer, still = adam(search), sgd(search, rate=0.0)
        for number in range(2):
            search.weight_step(batch(seed + number), still, "search", Step(0, number))
            search.architecture_step(batch(1), optimizer, Step(0, number))
        ends.append(values(search.parameters))
    assert same(*ends)


class Recorder(nn.Module):
    """A supernet that notes what it was asked to run."""

    def __init__(self, supernet: Supernet) -> None:
        super().__init__()
        self.inner, self.draws = supernet, []
        supernet.register_forward_pre_hook(lambda module, given: self.draws.append(given[1]))


def is_constant(gamma: torch.Tensor, index: int) -> bool:
    return bool((gamma.argmax(-1) == index).all())


def test_the_passes_of_both_phases(search: CoSearch) -> None:
    recorder = Recorder(search.supernet)
    search.weight_step(batch(), sgd(search), "pretrain", Step(0, 0))
    assert len(recorder.draws) == len(PRETRAIN_PASSES) == 4
    widest, narrowest, one, other = (draw.gamma for draw in recorder.draws)
    assert is_constant(widest, 2)
    assert is_constant(narrowest, 0)
    assert not torch.equal(one, other)
    recorder.draws.clear()
    search.weight_step(batch(), sgd(search), "search", Step(0, 0))
    teacher, student, widest, narrowest = recorder.draws
    assert SEARCH_PASSES == ("teacher", "student", "widest", "narrowest")
    assert is_constant(teacher.gamma, 2)
    assert is_constant(widest.gamma, 2)
    assert is_constant(narrowest.gamma, 0)
    assert not any(tensor.requires_grad for tensor in (student.alpha, student.beta, student.gamma))
    # The teacher's operators are its own; the other three passes train the student's.
    assert not torch.equal(teacher.alpha, student.alpha)
    assert torch.equal(widest.alpha, student.alpha)
    assert torch.equal(narrowest.alpha, student.alpha)


@pytest.mark.parametrize("weights", [None, (0.2, 0.3, 0.5), (0.0, 2.0, 3.0)])
def test_latency_is_of_the_very_draw_that_ran(search: CoSearch, weights: tuple[float, float, float] | None) -> None:
    search.weights = weights
    recorder = Recorder(search.supernet)
    losses = search.architecture_step(batch(), adam(search), Step(0, 7))
    ran = recorder.draws[1]
    again = search.relaxed(ran.alpha, ran.beta, ran.gamma, probabilities=True).mean()
    assert losses.latency_ms == pytest.approx(again.item(), rel=1e-6)
    assert ran.gamma.requires_grad


def test_draws_depend_on_the_seed_and_the_step_alone(search: CoSearch) -> None:
    def drawn(step: Step) -> list[Draw]:
        torch.rand(3)
        return list(search._draws("search", step, "weights"))

    first, again, later, other = (
        [draw.gamma for draw in drawn(step)] for step in (Step(0, 1), Step(0, 1), Step(0, 2), Step(1, 1))
    )
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[1], later[1])
    assert not torch.equal(first[1], other[1])


def test_only_the_student_is_held_to_the_latency() -> None:
    """Two searches that differ in λ: their teachers move alike, their students do not."""
    ends = []
    for factor in (0.0, 1e4):
        search = tiny_assembly().search
        search.latency_term = FixedFactor(factor)
        optimizer = torch.optim.SGD(search.parameters.parameters(), lr=1.0)
        search.architecture_step(batch(), optimizer, Step(0, 0))
        ends.append(values(search.parameters))
    free, held = ends
    for name, value in free.items():
        assert torch.equal(value, held[name]) == name.startswith("teacher"), name


@pytest.mark.parametrize(("derived_ms", "sign"), [(4.0, -1), (0.04, 1)])
def test_latency_gives_way_to_a_target(search: CoSearch, derived_ms: float, sign: int) -> None:
    """A student that is too slow gets faster, one that is faster than it may be gets slower."""
    search.latency_term = SteeredMultiplier(0.4)
    optimizer, before_ms = adam(search, rate=0.2), search.expected_latency_ms("student")
    for number in range(8):
        search.latency_term.observe([derived_ms])
        search.architecture_step(batch(), optimizer, Step(0, number))
    change = search.expected_latency_ms("student") / before_ms - 1
    assert sign * change > 0.05


def test_the_gradient_of_the_architecture_is_that_of_the_loss() -> None:
    """By central differences in one logit of each family of the student, with the draw held."""
    search = tiny_assembly().search
    search.latency_term = FixedFactor(0.5)
    # Which pixels are hard may change between the two sides of a difference: all of them count here.
    search.criterion = OhemCrossEntropy(1.0, 1.0)
    supernet, parameters = search.supernet.double(), search.parameters.double()
    images = Batch(batch().image.double(), batch().label)
    supernet.train()

    def student_loss() -> torch.Tensor:
        alpha, beta, _ = search.relaxed.softmax(*parameters.of("student"))
        gamma = torch.nn.functional.one_hot(parameters.student_gamma.argmax(-1), 3).double()
        draw = Draw(alpha, beta, gamma)
        with supernet.statistics_kept():
            return search._loss(images, draw) + search.latency_term(search.latency(draw))

    student_loss().backward()
    for parameter in (parameters.student_alpha, parameters.student_beta):
        place = (1, 1, 1)
        slope = parameter.grad[place].item()
        sides = []
        for move in (1e-6, -1e-6):
            with torch.no_grad():
                parameter[place] += move
                sides.append(student_loss().item())
                parameter[place] -= move
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_a_loss_that_is_no_number_takes_no_step(search: CoSearch) -> None:
    wrong = Batch(batch().image * float("nan"), batch().label)
    weights = {name: value.clone() for name, value in search.supernet.named_parameters()}
    architecture = values(search.parameters)
    losses: Losses = search.weight_step(wrong, sgd(search), "search", Step(0, 0))
    assert losses.total != losses.total
    assert same(dict(search.supernet.named_parameters()), weights)
    losses = search.architecture_step(wrong, adam(search), Step(0, 0))
    assert losses.total != losses.total
    assert same(values(search.parameters), architecture)


def test_stem_and_heads_are_trained_from_pretraining_on(search: CoSearch) -> None:
    before = values(search.supernet)
    search.weight_step(batch(), sgd(search), "pretrain", Step(0, 0))
    after = dict(search.supernet.named_parameters())
    for name, value in after.items():
        if name.startswith(("around.", "heads.")):
            assert not torch.equal(value, before[name]), name


def test_many_steps_learn(search: CoSearch) -> None:
    """On one batch over and over, the loss falls: gradients point the right way."""
    optimizer = sgd(search, rate=0.02)
    losses = [search.weight_step(batch(), optimizer, "pretrain", Step(0, number)).segmentation for number in range(12)]
    assert losses[-1] < 0.9 * losses[0]
