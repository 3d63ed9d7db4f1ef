"""A profile from end to end on a simulated machine: what it stores, how it goes on, what a failure does."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backends import measure as loop
from backends.measure import Plan
from backends.samples import estimate
from latency_db import campaign as campaigns
from latency_db.campaign import CALIBRATION_SEED, Campaign
from latency_db.errors import InputError
from latency_db.keys import ImageSize
from latency_db.profiling import profile, select, stored_row
from latency_db.recording import JobKey
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend, World, named_cost

IMAGE = ImageSize(64, 64)
QUICK: dict[str, Any] = {"rel_ci": 0.05, "time_budget_s": 1e6, "min_rounds": 3, "max_rounds": 30}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """A small space, a simulated machine whose time is the loop's too, and a new database."""
    world = World(noise=0.003, layout=0.01)
    monkeypatch.setattr(campaigns, "measure", functools.partial(loop.measure, now=world.seconds))
    return another(Store.open(str(tmp_path / "some.db")), world)


def another(store: Store, world: World, **settings: Any) -> Campaign:
    space = FasterSegSpace(**{"layers": 3, "scales": (8, 16), "chis": (4, 6), **settings})
    campaign = Campaign(store, FakeBackend(world), space, IMAGE)

    def cost(name: str) -> float:
        if not name.startswith("network-"):
            return named_cost(name)
        row = store.networks([int(name.removeprefix("network-"))])
        (network,) = row.values()
        decomposition = space.decompose(space.from_json(network.architecture), IMAGE)
        return 0.9 * sum(named_cost(spec.name) for spec in decomposition.specs)

    world.cost_ms = cost
    return campaign


def world_of(campaign: Campaign) -> World:
    assert isinstance(campaign.backend, FakeBackend)
    return campaign.backend.world


def visits(campaign: Campaign) -> Counter[tuple[str, int, int]]:
    """How often each (operator, series, round) is stored."""
    rows = campaign.store.raw_measurements(campaign.target_id)
    return Counter((row.spec.name, row.series, row.round) for row in rows)


def test_every_operator_is_measured_and_known_well(machine: Campaign) -> None:
    result = profile(machine, Plan(**QUICK), calibration_networks=0)
    specs = machine.space.specs(IMAGE)
    assert (result.specs, result.measured, result.failed, result.wide) == (len(specs), len(specs), {}, 0)
    assert result.outcome is not None and result.outcome.reason == "confident"
    stored = machine.store.visit_ratios(machine.target_id)
    assert set(stored) == set(specs)
    for spec, series in stored.items():
        found = estimate(series.ratios)
        assert found.rel_ci <= 0.05
        assert found.value == pytest.approx(named_cost(spec.name), rel=0.04)
    (run,) = machine.store.runs()
    assert (run.status, run.reason, run.series) == ("completed", "confident", 1)
    assert run.reference_ms == pytest.approx(1.0, rel=0.05)


def test_the_next_call_has_nothing_to_do(machine: Campaign) -> None:
    profile(machine, Plan(**QUICK), calibration_networks=0)
    before, runs = visits(machine), world_of(machine).runs
    again = profile(machine, Plan(**QUICK), calibration_networks=0)
    assert again.run_id is None and again.outcome is None
    assert again.measured == again.specs
    assert visits(machine) == before and world_of(machine).runs == runs


def test_a_call_that_ran_out_of_time_is_gone_on_with(machine: Campaign) -> None:
    plan = Plan(**{**QUICK, "time_budget_s": 1.5})
    counts = []
    for _ in range(100):
        result = profile(machine, plan, calibration_networks=0)
        counts.append(visits(machine))
        if result.outcome is None or result.outcome.reason != "time":
            break
    assert len(counts) > 3, "it was over too soon to show anything"
    for earlier, later in itertools.pairwise(counts):
        assert earlier.items() <= later.items(), "what was there stays"
    assert set(counts[-1].values()) == {1}, "no round of an operator is there twice"
    assert result.measured == result.specs
    per_spec = Counter(name for name, _, _ in counts[-1])
    assert max(per_spec.values()) <= QUICK["max_rounds"]
    # As much work in pieces as in one go, give or take the luck of the noise.
    assert max(per_spec.values()) < 12


def test_an_interrupted_run_keeps_what_it_has_and_says_so(machine: Campaign) -> None:
    world = world_of(machine)

    def interrupt(name: str) -> None:
        if world.seconds() > 2:
            raise KeyboardInterrupt

    world.before_run = interrupt
    with pytest.raises(KeyboardInterrupt):
        profile(machine, Plan(**QUICK), calibration_networks=0)
    world.before_run = lambda name: None
    kept = visits(machine)
    assert len(kept) > 10
    (run,) = machine.store.runs()
    assert (run.status, run.reason) == ("interrupted", "KeyboardInterrupt")
    profile(machine, Plan(**QUICK), calibration_networks=0)
    assert kept.items() <= visits(machine).items()


def test_remeasuring_begins_a_new_series(machine: Campaign) -> None:
    profile(machine, Plan(**QUICK), calibration_networks=0)
    first = visits(machine)
    profile(machine, Plan(**QUICK), calibration_networks=0, remeasure=True)
    later = visits(machine)
    assert first.items() <= later.items()
    assert {series for _, series, _ in later} == {1, 2}
    assert {name for name, series, _ in later if series == 2} == {name for name, _, _ in first}
    assert {row.series for row in machine.store.visit_ratios(machine.target_id).values()} == {2}
    assert machine.newest_series == 2


def test_only_what_is_asked_for(machine: Campaign) -> None:
    result = profile(machine, Plan(**QUICK), only=["op=skip", "op=conv,s=16,chi_out=4"], calibration_networks=24)
    wanted = [
        spec
        for spec in machine.space.specs(IMAGE)
        if spec.op == "skip" or (spec.op == "conv" and spec.s == 16 and spec.chi_out == 4)
    ]
    assert result.specs == len(wanted) > 2
    assert set(machine.store.visit_ratios(machine.target_id)) == set(wanted)
    assert result.calibration is None and machine.store.network_visits(machine.target_id) == {}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("op=deconv", "no operator of the space matches op=deconv"),
        ("color=red", "'color=red' is not FIELD=VALUE"),
        ("op", "'op' is not FIELD=VALUE"),
        ("op=conv,", "'' is not FIELD=VALUE"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(FasterSegSpace().specs(IMAGE), [pattern])


def test_a_failing_operator_is_a_row_and_not_the_end(machine: Campaign) -> None:
    bad = next(spec for spec in machine.space.specs(IMAGE) if spec.op == "zoomed_conv")
    world_of(machine).broken[bad.name] = "no kernel for this"
    result = profile(machine, Plan(**QUICK), calibration_networks=0)
    assert result.failed == {bad.name: f"{bad.name}: no kernel for this"}
    assert result.measured == result.specs - 1
    assert machine.store.failures(machine.target_id) == {bad: f"{bad.name}: no kernel for this"}
    assert bad not in machine.store.visit_ratios(machine.target_id)
    # Once it works, the same command measures it.
    world_of(machine).broken.clear()
    assert profile(machine, Plan(**QUICK), calibration_networks=0).measured == result.specs
    assert machine.store.failures(machine.target_id) == {}


def test_where_everything_fails_the_run_still_ends(machine: Campaign) -> None:
    world_of(machine).broken.update({spec.name: "no kernel" for spec in machine.space.specs(IMAGE)})
    result = profile(machine, Plan(**QUICK), calibration_networks=0)
    assert (result.measured, len(result.failed), result.median_rel_ci) == (0, result.specs, None)
    (run,) = machine.store.runs()
    assert (run.status, run.reference_ms) == ("completed", None)


def test_calibrations_are_versions_of_the_target(machine: Campaign) -> None:
    first = profile(machine, Plan(**QUICK), calibration_networks=12)
    assert first.calibration is not None and first.calibration.networks == 12
    identity = (machine.target_id, machine.space.name, machine.space_digest, IMAGE)
    row = machine.store.calibration(*identity)
    assert row is not None and (row.version, row.run_id) == (1, first.run_id)
    again = profile(machine, Plan(**QUICK), calibration_networks=12, remeasure=True)
    row = machine.store.calibration(*identity)
    assert row is not None and (row.version, row.run_id) == (2, again.run_id)
    row = stored_row(machine)
    assert row is not None
    kept = row.calibration()
    assert kept is not None and again.calibration is not None
    assert kept.to_terms() == again.calibration.to_terms()


def test_the_calibration_finds_what_networks_cost_in_this_world(machine: Campaign) -> None:
    result = profile(machine, Plan(**QUICK), calibration_networks=16)
    assert result.calibration is not None
    spec = machine.space.specs(IMAGE)[0]
    assert result.calibration.operator_ratio(spec, 1.0) == pytest.approx(0.9, abs=0.02)
    assert result.calibration.cv_error < 0.02


def test_another_space_setting_has_a_calibration_of_its_own(machine: Campaign) -> None:
    profile(machine, Plan(**QUICK), calibration_networks=8)
    other = another(machine.store, world_of(machine), head_chi=12)
    assert other.target_id == machine.target_id
    assert stored_row(machine) is not None and stored_row(other) is None


def test_draws_differ_and_avoid_what_is_excluded(machine: Campaign) -> None:
    first = machine.draw(20, CALIBRATION_SEED)
    second = machine.draw(20, "validate/0", exclude={one.id for one in first})
    ids = [one.id for one in (*first, *second)]
    assert len(set(ids)) == 40
    assert [one.id for one in machine.draw(20, CALIBRATION_SEED)] == [one.id for one in first]


def test_a_space_that_runs_out_of_networks_gives_those_that_it_has(machine: Campaign) -> None:
    class Few(FasterSegSpace):
        """Three architectures."""

        def sample(self, rng: random.Random) -> Any:
            return super().sample(random.Random(rng.randrange(3)))

    machine.space = Few(layers=3, chis=(4, 6))
    assert len(machine.draw(10, "any")) == 3


def test_jobs_go_back_to_the_rows_that_they_came_from(machine: Campaign) -> None:
    specs = machine.space.specs(IMAGE)[:3]
    ids = machine.store.ensure_specs(specs)
    jobs = machine.operator_jobs(specs)
    assert [job.key for job in jobs.values()] == [JobKey("operator", ids[spec]) for spec in jobs]
