"""A validation from end to end on a simulated machine, where what is true is known."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import measure as loop
from backends.measure import Plan
from backends.observers import Observation
from latency_db import campaign as campaigns
from latency_db.calibration import Calibration
from latency_db.campaign import Campaign
from latency_db.errors import InputError, PredictionError
from latency_db.keys import ImageSize
from latency_db.profiling import profile
from latency_db.report import report_json
from latency_db.store import Store
from latency_db.validation import Validation, validate
from latency_db.validation_report import report_data
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend, FakeObserver, World, named_cost

IMAGE = ImageSize(64, 64)
PLAN = Plan(rel_ci=0.01, time_budget_s=1e6, min_rounds=4, max_rounds=10)
Make = Callable[..., Campaign]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a campaign in a world where a network costs its operators' sum times a factor."""

    def made(factor: Callable[[str], float] = lambda name: 0.9, **world: Any) -> Campaign:
        store = Store.open(str(tmp_path / "some.db"))
        space = FasterSegSpace(layers=4, chis=(4, 6))

        def cost(name: str) -> float:
            if not name.startswith("network-"):
                return named_cost(name)
            (row,) = store.networks([int(name.removeprefix("network-"))]).values()
            specs = space.decompose(space.from_json(row.architecture), IMAGE).specs
            return factor(name) * sum(named_cost(spec.name) for spec in specs)

        simulated = World(cost, **{"noise": 0.002, "layout": 0.002, **world})
        monkeypatch.setattr(campaigns, "measure", functools.partial(loop.measure, now=simulated.seconds))
        return Campaign(store, FakeBackend(simulated), space, IMAGE)

    return made


def test_where_networks_cost_a_multiple_of_the_sum_calibration_finds_it(make: Make) -> None:
    result = validate(make(), PLAN, networks=15, calibration_networks=12)
    figures = result.agreement
    assert figures.networks == len(result.judged) == 15 and result.dropped == []
    assert figures.pearson > 0.999
    assert figures.mape < 0.005 and abs(figures.bias) < 0.005
    assert figures.slope == pytest.approx(1.0, abs=0.03)
    assert 0.99 < result.ceiling <= 1.0
    assert result.verdict.exit_code == 0


def test_without_calibration_the_multiple_is_the_bias(make: Make) -> None:
    result = validate(make(), PLAN, networks=12, calibration_networks=0)
    assert result.calibration == Calibration.identity()
    assert result.agreement.bias == pytest.approx(1 / 0.9 - 1, abs=0.005)
    assert result.agreement.pearson > 0.999


def test_drift_does_not_matter(make: Make) -> None:
    campaign = make(drift=lambda seconds: 1.5 + (int(seconds) % 7) / 7)
    result = validate(campaign, PLAN, networks=12, calibration_networks=8)
    assert result.agreement.mape < 0.01 and result.agreement.pearson > 0.998


def test_judged_networks_took_no_part_in_the_calibration(make: Make) -> None:
    campaign = make()
    results = [validate(campaign, PLAN, networks=6, calibration_networks=8, seed=seed) for seed in (0, 1)]
    fitted = {one.id for one in campaign.draw(8, campaigns.CALIBRATION_SEED)}
    judged = [{one.network.id for one in result.judged} for result in results]
    assert all(not (ids & fitted) for ids in judged)
    assert judged[0] != judged[1], "another seed, other networks"


def test_what_it_measures_stays_in_the_database(make: Make) -> None:
    campaign = make()
    result = validate(campaign, PLAN, networks=5, calibration_networks=4)
    stored = campaign.store.network_visits(campaign.target_id, run_id=result.run_id)
    assert {one.network.id for one in result.judged} <= set(stored) and len(stored) == 9
    run = campaign.store.runs()[-1]
    assert (run.kind, run.status) == ("validate", "completed")
    needed = {spec for one in result.judged for spec in one.network.decomposition.specs}
    assert needed <= set(campaign.store.visit_ratios(campaign.target_id))


def test_stored_with_nothing_stored_names_the_command_that_mends_it(make: Make) -> None:
    with pytest.raises(PredictionError, match=r"not stored.*latency-db profile --backend fake --device simulated"):
        validate(make(), PLAN, networks=5, stored=True)


def test_stored_measures_networks_alone_and_uses_the_stored_calibration(make: Make) -> None:
    campaign = make()
    profiled = profile(campaign, PLAN, calibration_networks=10)
    operators = sum(1 for _ in campaign.store.raw_measurements(campaign.target_id))
    result = validate(campaign, PLAN, networks=10, stored=True, calibration_networks=10)
    assert sum(1 for _ in campaign.store.raw_measurements(campaign.target_id)) == operators
    assert profiled.calibration is not None
    assert result.calibration.to_terms() == profiled.calibration.to_terms()
    assert result.agreement.pearson > 0.998 and result.agreement.mape < 0.01


def uneven(name: str) -> float:
    """Nothing that a sum over operators could know."""
    return 0.6 + 0.8 * (int(name.removeprefix("network-")) * 7919 % 101) / 101


@pytest.mark.parametrize(
    ("factor", "noise", "bounds", "code"),
    [
        (lambda name: 0.9, 0.002, {"min_pearson": 0.98, "max_mape": 0.02}, 0),
        (uneven, 0.002, {"min_pearson": 0.98}, 1),
        (uneven, 0.002, {"max_mape": 0.02}, 1),
        # The visits of one network differ by more than the networks do: nobody could tell.
        (lambda name: 0.9, 0.6, {"min_pearson": 0.999}, 2),
        (uneven, 0.002, {}, 0),
    ],
    ids=["passed", "r missed", "MAPE missed", "inconclusive", "no bounds"],
)
def test_the_verdict_is_the_exit_code(
    make: Make, factor: Callable[[str], float], noise: float, bounds: dict[str, float], code: int
) -> None:
    campaign = make(factor, layout=noise)
    plan = Plan(rel_ci=0.01, time_budget_s=1e6, min_rounds=4, max_rounds=6)
    result = validate(campaign, plan, networks=12, calibration_networks=8, **bounds)
    assert result.verdict.exit_code == code, result.verdict
    assert bool(result.verdict.reasons) == (code != 0)


def some_contended(share: int) -> Callable[[int], Observation]:
    """Says that one visit in so many was contended."""
    return lambda visit: Observation(values={"seen": visit}, flags=("contended",) if visit % share == 0 else ())


def watched(campaign: Campaign, says: Callable[[int], Observation]) -> Campaign:
    assert isinstance(campaign.backend, FakeBackend)
    campaign.backend.watching = (FakeObserver(says),)
    return campaign


def test_contended_visits_are_left_out_and_counted(make: Make) -> None:
    campaign = watched(make(), some_contended(5))
    backend = campaign.backend
    assert isinstance(backend, FakeBackend)
    world, (observer,) = backend.world, backend.watching
    assert isinstance(observer, FakeObserver)
    # What is contended takes twice as long: an estimate that counted it would be far off.
    world.before_run = lambda name: (
        world.advance(world.undisturbed(name)) if observer.visits % 5 == 0 and name.startswith("network-") else None
    )
    result = validate(campaign, PLAN, networks=8, calibration_networks=6)
    assert result.agreement.mape < 0.01
    contended = result.flags.by_flag["contended"]
    assert contended == pytest.approx(result.outcome.visits / 5, abs=1)
    assert result.outcome.reason == "confident"
    assert result.left_out == result.flags.unclean == contended
    assert (result.flagged_networks, result.flagged_operators) == ((), 0)
    document = report_json(report_data(campaign, result))
    assert (document["flags"], document["left_out"]) == (dict(result.flags.by_flag), result.left_out)
    assert document["flagged"] == {"networks": 0, "operators": 0}
    assert f"contended: {contended}" in document["protocol"]["flagged visits"]
    assert document["protocol"]["fewer than two clean visits"].startswith("none")


def test_where_no_visit_is_clean_it_goes_on_to_the_end_and_says_so(make: Make) -> None:
    plan = Plan(rel_ci=0.5, time_budget_s=1e6, min_rounds=4, max_rounds=9)
    campaign = watched(make(), some_contended(1))
    result = validate(campaign, plan, networks=6, calibration_networks=4, min_pearson=0.5)
    assert result.outcome.reason == "rounds" and result.outcome.rounds == 9
    assert len(result.flagged_networks) == 6 and result.flagged_operators == result.operators > 0
    assert result.left_out == 0 and result.flags.unclean == result.outcome.visits
    document = report_json(report_data(campaign, result))
    assert document["flagged"] == {"networks": 6, "operators": result.operators}
    assert document["protocol"]["fewer than two clean visits"].startswith("6 of 6 networks and")


def test_it_stops_as_soon_as_the_bound_can_be_judged(make: Make) -> None:
    def rounds(bound: float) -> int:
        plan = Plan(rel_ci=0.0001, time_budget_s=1e6, min_rounds=4, max_rounds=25)
        result: Validation = validate(make(layout=0.02), plan, networks=10, calibration_networks=0, min_pearson=bound)
        return result.outcome.rounds

    assert rounds(0.5) == 4 < rounds(0.9995)


def test_a_network_that_cannot_be_measured_is_reported_and_not_judged(make: Make) -> None:
    campaign = make()
    networks = campaign.draw(6, "validate/0")
    name = f"network-{networks[2].id}"
    assert isinstance(campaign.backend, FakeBackend)
    campaign.backend.world.broken[name] = "too large"
    result = validate(campaign, PLAN, networks=6, calibration_networks=0)
    assert len(result.judged) == 5
    assert result.dropped == [(f"network {networks[2].id}", f"{name}: too large")]


def test_networks_of_an_operator_that_cannot_be_measured_are_dropped(make: Make) -> None:
    campaign = make()
    networks = campaign.draw(8, "validate/0")
    shared = set.intersection(*(set(network.decomposition.specs) for network in networks))
    bad = next(
        spec for network in networks for spec in network.decomposition.specs if spec not in shared and spec.s == 16
    )
    assert isinstance(campaign.backend, FakeBackend)
    campaign.backend.world.broken[bad.name] = "no kernel"
    using = [network for network in networks if bad in network.decomposition.specs]
    result = validate(campaign, PLAN, networks=8, calibration_networks=0)
    assert len(result.dropped) == len(using) < 6
    assert {one.network.id for one in result.judged} == {one.id for one in networks if one not in using}


@pytest.mark.parametrize("networks", [0, 2, -1])
def test_too_few_networks_are_refused(make: Make, networks: int) -> None:
    with pytest.raises(InputError, match=f"--networks {networks}"):
        validate(make(), PLAN, networks=networks)


def test_time_for_too_few_networks_is_an_error_with_a_hint(make: Make) -> None:
    with pytest.raises(PredictionError, match="--time-budget"):
        validate(make(), Plan(time_budget_s=0.2), networks=10)


def test_a_space_with_too_few_networks_says_so(make: Make) -> None:
    campaign = make()
    campaign.space = FasterSegSpace(layers=2, scales=(8,), chis=(4,), branches=1)
    with pytest.raises(InputError, match=r"the space yields \d+ networks beside the \d+ for calibration, not 60"):
        validate(campaign, PLAN, networks=60)


def test_networks_asked_for_by_name_are_judged_too(make: Make) -> None:
    campaign = make()
    named = {
        "mine.json": campaign.space.sample(random.Random(77)),
        "other.json": campaign.space.sample(random.Random(78)),
    }
    result = validate(campaign, PLAN, networks=5, named=named, calibration_networks=12)
    assert [one.name for one in result.judged if one.named] == ["mine.json", "other.json"]
    assert result.agreement.networks == len(result.judged) == 7
    for one in result.judged:
        assert one.predicted.latency_ms == pytest.approx(one.measured.value, rel=0.02)


def test_named_networks_are_enough_for_themselves(make: Make) -> None:
    campaign = make()
    named = {str(seed): campaign.space.sample(random.Random(seed)) for seed in range(3)}
    result = validate(campaign, PLAN, networks=0, named=named, calibration_networks=12)
    assert [one.name for one in result.judged] == ["0", "1", "2"]


def test_a_network_that_the_calibration_would_draw_is_judged_and_not_fitted_to(make: Make) -> None:
    campaign = make()
    (drawn,) = campaign.draw(1, "calibration")
    result = validate(campaign, PLAN, networks=4, named={"it": drawn.architecture}, calibration_networks=12)
    (run,) = campaign.store.runs()
    assert drawn.id not in run.plan["calibrating"]
    assert any(one.named and one.network.id == drawn.id for one in result.judged)


def test_a_network_that_the_stored_calibration_was_fitted_to_is_refused(make: Make) -> None:
    campaign = make()
    profile(campaign, PLAN, calibration_networks=12)
    (drawn,) = campaign.draw(1, "calibration")
    with pytest.raises(InputError, match="was fitted to it"):
        validate(campaign, PLAN, networks=4, named={"it": drawn.architecture}, stored=True, calibration_networks=12)
