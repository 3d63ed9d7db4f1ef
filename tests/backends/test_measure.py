"""The timing loop, on a simulated machine whose truth is known."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from backends.counting import Visited
from backends.errors import CompileError
from backends.measure import Job, Outcome, Plan, Progress, measure
from backends.observers import Observation
from backends.protocol import Workload
from backends.samples import Visit, estimate
from tests.fakes import REFERENCE, FakeBackend, FakeClock, FakeObserver, World


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.visits: list[tuple[Hashable, Visit]] = []
        self.failures: list[tuple[Hashable, int, str]] = []
        self.seen: list[Progress] = []
        self.references: list[float] = []

    def visited(self, key: Hashable, visit: Visit) -> None:
        self.visits.append((key, visit))

    def failed(self, key: Hashable, round_number: int, reason: str) -> None:
        self.failures.append((key, round_number, reason))

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def round_ended(self, reference_ms: float) -> None:
        self.references.append(reference_ms)

    @property
    def order(self) -> list[Hashable]:
        return [key for key, _ in self.visits]


def jobs_of(*names: str, **changes: Any) -> list[Job]:
    def build() -> Any:
        raise AssertionError("the simulated machine needs no module")

    return [
        Job(key=name, workload=Workload(name=name, build=build, input_shapes=((1, 1),)), **changes) for name in names
    ]


def run(
    world: World,
    jobs: Sequence[Job],
    *,
    seed: int = 0,
    enough: Callable[[int], bool] | None = None,
    observers: Sequence[FakeObserver] = (),
    **plan: Any,
) -> tuple[Outcome, Recorder]:
    sink = Recorder()
    backend = FakeBackend(world)
    backend.watching = tuple(observers)
    settings: dict[str, Any] = {"rel_ci": 1e-9, "time_budget_s": 1e6, "min_rounds": 2, "max_rounds": 6, **plan}
    outcome = measure(backend, jobs, Plan(**settings), sink, seed=seed, enough=enough, now=world.seconds)
    return outcome, sink


NAMES = tuple("abcdefgh")


# Rounds


def test_every_round_visits_every_job_once_and_each_in_another_order() -> None:
    _, sink = run(World(noise=0.01), jobs_of(*NAMES), max_rounds=5)
    rounds = [tuple(sink.order[start : start + len(NAMES)]) for start in range(0, len(sink.order), len(NAMES))]
    assert len(rounds) == 5
    assert all(sorted(map(str, order)) == list(NAMES) for order in rounds)
    assert len(set(rounds)) == 5
    assert NAMES not in rounds


def test_the_order_is_reproducible_by_its_seed() -> None:
    orders = [run(World(noise=0.01), jobs_of(*NAMES), seed=seed)[1].order for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


def test_visits_are_numbered_on() -> None:
    _, sink = run(World(noise=0.01), jobs_of("a", "b"), max_rounds=4)
    for name in ("a", "b"):
        assert [visit.round for key, visit in sink.visits if key == name] == [0, 1, 2, 3]


def test_a_workload_is_compiled_once_and_loaded_for_every_visit() -> None:
    world = World(noise=0.01, layout=0.2)
    _, sink = run(world, jobs_of("a", "b"), max_rounds=5)
    assert Counter(world.compiled) == {"a": 1, "b": 1, REFERENCE: 1}
    # What a loading keeps is worth 20% here: were the program loaded once, all visits would agree.
    assert np.std([visit.ratio for key, visit in sink.visits if key == "a"]) > 0.02


def test_samples_last_about_as_long_as_planned() -> None:
    costs = {"short": 0.1, "long": 30.0}
    _, sink = run(World(costs.__getitem__), jobs_of(*costs), sample_ms=2.0, visit_ms=36.0, max_samples=8)
    found = dict(sink.visits)
    short, long = found["short"], found["long"]
    assert short.repeats == 20 and len(short.elapsed_ms) == 8
    assert long.repeats == 1 and len(long.elapsed_ms) == 4
    # The time is per run, whatever the repeats.
    assert short.median_ms == pytest.approx(0.1) and long.median_ms == pytest.approx(30.0)


# What is measured


def drifting(seconds: float) -> float:
    """A machine that gets three times slower, with a swing of 30% every two seconds."""
    return (1 + 2 * min(seconds / 20, 1)) * (1 + 0.3 * math.sin(math.pi * seconds))


def test_ratios_are_true_under_common_drift_and_plain_medians_are_not() -> None:
    costs = {"a": 3.0, "b": 0.7}
    outcome, sink = run(World(costs.__getitem__, drift=drifting, noise=0.005), jobs_of(*costs), max_rounds=240)
    assert outcome.elapsed_s > 10, "the drift had no time to show"
    for name, truth in costs.items():
        visits = [visit for key, visit in sink.visits if key == name]
        assert estimate([visit.ratio for visit in visits]).value == pytest.approx(truth, rel=0.01)
        assert np.median([visit.median_ms for visit in visits]) > 1.2 * truth


def test_two_calls_on_a_machine_in_two_states_agree() -> None:
    ratios, medians = [], []
    for load in (1.0, 1.7):
        jobs = jobs_of("a")
        _, sink = run(World(lambda name: 2.5, drift=lambda now, load=load: load, noise=0.01), jobs, max_rounds=20)
        ratios.append(estimate(jobs[0].ratios).value)
        medians.append(float(np.median([visit.median_ms for _, visit in sink.visits])))
    assert ratios[1] == pytest.approx(ratios[0], rel=0.01)
    assert medians[1] > 1.6 * medians[0]


def test_the_reference_time_is_the_undisturbed_one() -> None:
    # Half of the time something else takes half of the machine.
    busy = World(reference_ms=2.0, drift=lambda now: 2.0 if int(now * 5) % 2 else 1.0)
    outcome, sink = run(busy, jobs_of("a", "b", "c"), max_rounds=30)
    assert outcome.reference_ms == pytest.approx(2.0, rel=0.02)
    assert sink.references[-1] == outcome.reference_ms
    assert len(sink.references) == outcome.rounds + 1


# When it stops


def test_it_stops_when_every_interval_is_tight() -> None:
    outcome, _ = run(World(noise=0.01), jobs_of(*NAMES), rel_ci=0.02, max_rounds=500)
    assert outcome.reason == "confident"
    assert outcome.wide == ()
    assert outcome.rounds < 100


def test_jobs_that_are_tight_are_left_alone_and_the_noisy_one_goes_on() -> None:
    world = World(lambda name: 2.0)
    wobble = iter(range(10**9))

    def before(name: str) -> None:
        if name == "noisy":
            world.advance(0.3 * (next(wobble) // 10 % 2))

    world.before_run = before
    jobs = jobs_of("noisy", "calm")
    outcome, _ = run(world, jobs, rel_ci=0.02, min_rounds=3, max_rounds=12)
    assert len(jobs[1].ratios) == 3
    assert len(jobs[0].ratios) > 3
    assert outcome.visits == sum(len(job.ratios) for job in jobs)


def test_no_interval_is_believed_before_the_least_number_of_rounds() -> None:
    jobs = jobs_of("a")
    outcome, _ = run(World(), jobs, rel_ci=0.5, min_rounds=5, max_rounds=9)
    assert len(jobs[0].ratios) == 5 and outcome.reason == "confident"


def test_it_stops_when_time_is_up_and_says_which_are_still_wide() -> None:
    jobs = jobs_of(*NAMES)
    outcome, sink = run(World(noise=0.05), jobs, time_budget_s=2.0, max_rounds=1000)
    assert outcome.reason == "time"
    assert 2.0 <= outcome.elapsed_s < 2.2, "at most one visit more"
    assert set(outcome.wide) == set(NAMES)
    assert outcome.visits == len(sink.visits)


def test_compiling_is_paid_from_the_budget() -> None:
    world = World()
    backend = FakeBackend(world)
    compile_ = backend.compile

    def slow(workload: Workload) -> Any:
        world.advance(1000)
        return compile_(workload)

    backend.compile = slow
    plan = Plan(time_budget_s=3.5, rel_ci=1e-9)
    outcome = measure(backend, jobs_of(*NAMES), plan, Recorder(), now=world.seconds)
    assert outcome.reason == "time" and outcome.visits <= 3


def test_it_stops_at_the_largest_number_of_rounds_and_says_so() -> None:
    jobs = jobs_of("a", "b")
    outcome, _ = run(World(noise=0.05), jobs, max_rounds=4)
    assert [len(job.ratios) for job in jobs] == [4, 4]
    assert outcome.rounds == 4
    assert outcome.reason == "rounds"
    assert set(outcome.wide) == {"a", "b"}


def test_jobs_of_every_round_are_measured_to_the_end() -> None:
    always, other = jobs_of("a", always=True), jobs_of("b")
    outcome, _ = run(World(), [*always, *other], rel_ci=0.5, min_rounds=2, max_rounds=7)
    assert outcome.reason == "rounds"
    assert len(always[0].ratios) == 7 and len(other[0].ratios) == 2


def test_the_caller_can_say_that_it_is_enough() -> None:
    asked: list[int] = []

    def enough(rounds: int) -> bool:
        asked.append(rounds)
        return rounds == 3

    outcome, _ = run(World(noise=0.05), jobs_of("a", "b"), enough=enough)
    assert asked == [1, 2, 3]
    assert outcome.reason == "confident" and outcome.rounds == 3


def test_nothing_to_do_ends_at_once() -> None:
    outcome, sink = run(World(), [])
    assert (outcome.reason, outcome.visits) == ("confident", 0)
    assert math.isnan(outcome.reference_ms)
    assert sink.references == []


@pytest.mark.parametrize(
    "changes",
    [
        {"time_budget_s": 0.0},
        {"time_budget_s": -1.0},
        {"rel_ci": 0.0},
        {"rel_ci": 1.0},
        {"min_rounds": 1},
        {"min_rounds": 5, "max_rounds": 4},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Plan(**changes)


# Failures


@pytest.mark.parametrize("stage", ["broken", "unloadable"])
def test_a_job_that_cannot_be_run_is_a_failure_and_the_rest_go_on(stage: str) -> None:
    world = World(noise=0.01, **{stage: {"c": "no such operator"}})
    jobs = jobs_of(*NAMES)
    outcome, sink = run(world, jobs, max_rounds=3)
    assert outcome.failed == {"c": "c: no such operator"}
    assert sink.failures == [("c", 0, "c: no such operator")], "once, and not tried again"
    assert Counter(sink.order) == {name: 3 for name in NAMES if name != "c"}
    assert "c" not in outcome.wide
    assert world.open_runners == [] and world.open_programs == []


def test_it_ends_well_where_every_job_fails() -> None:
    outcome, sink = run(World(broken={"a": "no", "b": "no"}), jobs_of("a", "b"))
    assert set(outcome.failed) == {"a", "b"} and outcome.wide == ()
    assert outcome.visits == 0 and math.isnan(outcome.reference_ms)
    assert sink.references == []


def test_a_reference_that_cannot_be_compiled_ends_it_all() -> None:
    with pytest.raises(CompileError, match="reference: broken runtime"):
        run(World(broken={REFERENCE: "broken runtime"}), jobs_of("a"))


def test_a_reference_that_cannot_be_loaded_leaves_nothing_open() -> None:
    world = World(unloadable={REFERENCE: "out of memory"})
    with pytest.raises(CompileError):
        run(world, jobs_of("a"))
    assert world.open_runners == [] and world.open_programs == []


def test_one_job_and_the_reference_are_open_at_most_and_nothing_at_the_end() -> None:
    world = World(noise=0.01)
    pairs: set[tuple[str, ...]] = set()
    world.before_run = lambda name: pairs.add(tuple(sorted(world.open_runners)))
    run(world, jobs_of(*NAMES), max_rounds=3)
    assert world.most_open == 2
    assert all(len(pair) == 2 and REFERENCE in pair for pair in pairs)
    assert world.open_runners == [] and world.open_programs == []


@pytest.mark.parametrize("victim", ["d", REFERENCE])
def test_an_interrupt_closes_everything_and_keeps_what_was_visited(victim: str) -> None:
    world = World(noise=0.01)
    sink = Recorder()

    def before(name: str) -> None:
        if name == victim and len(sink.visits) >= 11:
            raise KeyboardInterrupt

    world.before_run = before
    jobs = jobs_of(*NAMES)
    with pytest.raises(KeyboardInterrupt):
        measure(FakeBackend(world), jobs, Plan(rel_ci=1e-9), sink, now=world.seconds)
    assert world.open_runners == [] and world.open_programs == []
    assert len(sink.visits) == sum(len(job.ratios) for job in jobs) >= 11
    assert gc.isenabled()


def test_no_garbage_is_collected_inside_a_visit() -> None:
    world = World()
    states: set[bool] = set()
    world.before_run = lambda name: states.add(gc.isenabled())
    run(world, jobs_of("a"))
    assert states == {False}
    assert gc.isenabled()


# Going on where an earlier call stopped


def test_earlier_visits_count() -> None:
    earlier = [2.0, 2.001, 1.999, 2.0, 2.0]
    done = jobs_of("done", visited=Visited.all_clean(earlier), next_round=5)
    fresh = jobs_of("fresh")
    outcome, sink = run(World(lambda name: 2.0), [*done, *fresh], rel_ci=0.05, min_rounds=5)
    assert sink.order == ["fresh"] * 5
    assert outcome.reason == "confident"
    assert done[0].ratios == tuple(earlier)


def test_a_job_goes_on_after_its_last_round() -> None:
    job = jobs_of("a", visited=Visited.all_clean([2.0, 2.0, 2.0]), next_round=7)
    _, sink = run(World(lambda name: 2.0), job, rel_ci=0.05, min_rounds=5)
    assert [visit.round for _, visit in sink.visits] == [7, 8]
    assert len(job[0].ratios) == 5


def test_whom_earlier_calls_did_not_reach_come_first() -> None:
    jobs = jobs_of(*NAMES)
    world = World(noise=0.05)
    for _ in range(20):
        run(world, jobs, time_budget_s=0.1, max_rounds=1000)
    visits = [len(job.ratios) for job in jobs]
    assert sum(visits) > 2 * len(NAMES) and max(visits) - min(visits) <= 1


# Flags


def test_a_visit_on_a_machine_much_slower_than_before_is_flagged_disturbed() -> None:
    world = World(lambda name: 1.0, noise=0.001)
    slow = {"from": math.inf}
    world.drift = lambda now: 1.5 if now >= slow["from"] else 1.0
    marks: list[bool] = []

    class Switch(Recorder):
        def visited(self, key: Hashable, visit: Visit) -> None:
            super().visited(key, visit)
            marks.append(slow["from"] < math.inf)
            slow["from"] = world.seconds() if len(self.visits) in (10, 11) else math.inf

    sink = Switch()
    measure(FakeBackend(world), jobs_of("a"), Plan(rel_ci=1e-9, max_rounds=20), sink, now=world.seconds)
    assert [("disturbed" in visit.flags) for _, visit in sink.visits] == marks
    assert marks.count(True) == 2


def test_a_visit_whose_samples_disagree_is_flagged_noisy() -> None:
    world = World(lambda name: 2.0)
    turns = iter(range(10**9))
    # 2, 4, 6 ms in turn: any three samples in a row disagree.
    world.before_run = lambda name: world.advance(2 * (next(turns) % 3)) if name == "wild" else None
    _, sink = run(world, jobs_of("wild", "calm"), max_rounds=3)
    assert {(key, "noisy" in visit.flags) for key, visit in sink.visits} == {("wild", True), ("calm", False)}


# Observers


def flagged(*rounds: int, flag: str = "contended") -> Callable[[int], Observation]:
    """What an observer says, by the number of its visit."""
    return lambda visit: Observation(values={"seen_ms": visit}, flags=(flag,) if visit in rounds else ())


def test_observers_look_before_and_after_the_samples_of_every_visit_and_never_within_one() -> None:
    world = World(lambda name: 2.0)
    calls: list[str] = []
    timing = {"now": False}
    world.before_run = lambda name: calls.append(name)

    class Watched(FakeObserver):
        def begin(self) -> None:
            assert not timing["now"]
            super().begin()

        def end(self) -> Observation:
            assert not timing["now"]
            return super().end()

    class Noted(FakeClock):
        def start(self) -> None:
            timing["now"] = True
            super().start()

        def stop(self) -> float:
            timing["now"] = False
            return super().stop()

    backend = FakeBackend(world)
    backend._clock = Noted(world)
    observer = Watched(calls=calls)
    backend.watching = (observer,)
    measure(backend, jobs_of("a"), Plan(rel_ci=1e-9, min_rounds=3, max_rounds=3), Recorder(), now=world.seconds)
    looks = [call for call in calls if call in ("begin", "end", "close")]
    assert looks == ["begin", "end"] * 3 + ["close"]
    for visit in "\n".join(calls).split("begin")[1:]:
        inside, _, after = visit.partition("end")
        assert inside.split().count("a") >= 4, "the samples are inside"
        assert inside.split()[0] == REFERENCE, "the reference warms up after the look, not before it"
        assert REFERENCE not in after.split()[:1]


def test_what_is_seen_goes_with_the_visit() -> None:
    _, sink = run(World(), jobs_of("a"), max_rounds=3, observers=[FakeObserver(flagged(1)), FakeObserver()])
    assert [dict(visit.observed or {}) for _, visit in sink.visits] == [{"seen_ms": 0}, {"seen_ms": 1}, {"seen_ms": 2}]
    assert [visit.flags for _, visit in sink.visits] == [(), ("contended",), ()]


def test_where_nobody_looks_nothing_was_seen() -> None:
    _, sink = run(World(), jobs_of("a"), max_rounds=2)
    assert [visit.observed for _, visit in sink.visits] == [None, None]


@pytest.mark.parametrize("flag", ["throttled", "contended"])
def test_a_flagged_visit_is_left_out_of_the_estimate(flag: str) -> None:
    world = World(lambda name: 2.0)
    looks = iter(range(10**9))

    class Slow(FakeObserver):
        def begin(self) -> None:
            super().begin()
            world.cost_ms = lambda name: 2.0
            if next(looks) in (1, 3):
                world.before_run = lambda name: world.advance(5.0 if name == "a" else 0.0)
            else:
                world.before_run = lambda name: None

    jobs = jobs_of("a")
    _, sink = run(world, jobs, max_rounds=6, min_rounds=6, observers=[Slow(flagged(1, 3, flag=flag))])
    assert len(sink.visits) == 6 and len(jobs[0].ratios) == 4
    found = jobs[0].estimate()
    assert found.value == pytest.approx(2.0) and (found.visits, found.left_out, found.flagged) == (4, 2, False)


def test_a_flag_without_values_leaves_a_visit_out_too() -> None:
    jobs = jobs_of("a")
    says = [Observation(flags=("contended",)), Observation(), Observation(), Observation()]
    _, sink = run(World(lambda name: 2.0), jobs, min_rounds=4, max_rounds=4, observers=[FakeObserver(says.__getitem__)])
    assert [visit.clean for _, visit in sink.visits] == [False, True, True, True]
    assert jobs[0].estimate().left_out == 1


def test_the_reference_time_is_of_the_visits_that_count() -> None:
    """The machine is quickest where something is wrong with the visit: that is nobody's undisturbed time."""
    world = World(lambda name: 2.0, reference_ms=2.0)
    observer = FakeObserver(flagged(0, 2, 4))
    world.drift = lambda now: 0.5 if observer.visits in (0, 2, 4) else 1.0
    outcome, _ = run(world, jobs_of("a"), min_rounds=6, max_rounds=6, observers=[observer])
    assert outcome.reference_ms == pytest.approx(2.0, rel=0.01)
    observer = FakeObserver(flagged(*range(6)))
    world.drift = lambda now: 0.5
    outcome, _ = run(world, jobs_of("a"), min_rounds=6, max_rounds=6, observers=[observer])
    assert outcome.reference_ms == pytest.approx(1.0, rel=0.01)


def test_only_clean_visits_bring_a_job_to_its_end() -> None:
    jobs = jobs_of("a")
    outcome, sink = run(
        World(lambda name: 2.0),
        jobs,
        rel_ci=0.5,
        min_rounds=3,
        max_rounds=50,
        observers=[FakeObserver(flagged(0, 2, 3))],
    )
    assert len(sink.visits) == 6, "three clean ones beside three that are not"
    assert outcome.reason == "confident"


def test_without_clean_visits_a_job_is_visited_until_time_is_up() -> None:
    jobs = jobs_of("a", "b")
    outcome, sink = run(
        World(lambda name: 2.0),
        jobs,
        rel_ci=0.5,
        min_rounds=2,
        max_rounds=1000,
        time_budget_s=2.0,
        observers=[FakeObserver(flagged(*range(10**4)))],
    )
    assert outcome.reason == "time" and set(outcome.wide) == {"a", "b"}
    assert len(sink.visits) > 20
    found = jobs[0].estimate()
    assert found.flagged and found.left_out == 0 and found.visits == len(jobs[0].visited)
    assert found.value == pytest.approx(2.0)


def test_the_most_rounds_are_for_all_visits() -> None:
    jobs = jobs_of("a", visited=Visited([2.0, 2.1, 2.0], [True, True, False]), next_round=3)
    outcome, _ = run(World(), jobs, max_rounds=4, observers=[FakeObserver(flagged(*range(100)))])
    assert outcome.reason == "rounds" and len(jobs[0].visited) == 4
    assert len(jobs[0].ratios) == 2


def test_disturbed_and_noisy_visits_go_on_counting() -> None:
    turns = iter(range(10**9))
    world = World(lambda name: 2.0)
    world.before_run = lambda name: world.advance(2 * (next(turns) % 3)) if name == "a" else None
    jobs = jobs_of("a")
    _, sink = run(world, jobs, min_rounds=4, max_rounds=4, observers=[FakeObserver()])
    assert all("noisy" in visit.flags for _, visit in sink.visits)
    assert len(jobs[0].ratios) == 4


def test_observers_are_closed_where_the_loop_is_interrupted() -> None:
    world = World()
    observer = FakeObserver()

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    world.before_run = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(world, jobs_of("a"), observers=[observer])
    assert observer.calls[-1] == "close"


def test_observers_are_not_opened_where_there_is_nothing_to_time() -> None:
    opened: list[FakeObserver] = []

    class Watched(FakeBackend):
        def observers(self) -> tuple[FakeObserver, ...]:
            opened.append(FakeObserver())
            return tuple(opened)

    backend = Watched(World(broken={REFERENCE: "broken runtime"}))
    with pytest.raises(CompileError):
        measure(backend, jobs_of("a"), Plan(), Recorder())
    assert opened == [], "nobody would close them"


# Progress


def test_progress_counts_what_it_says() -> None:
    world = World(noise=0.001, broken={"b": "broken"})
    outcome, sink = run(world, jobs_of("a", "b", "c"), rel_ci=0.05, min_rounds=3, max_rounds=9, time_budget_s=100.0)
    assert [(one.round, one.visit, one.visits) for one in sink.seen[:5]] == [
        (0, 1, 3),
        (0, 2, 3),
        (0, 3, 3),
        (1, 1, 2),
        (1, 2, 2),
    ]
    last = sink.seen[-1]
    assert (last.jobs, last.failed, last.done) == (3, 1, 2)
    assert last.elapsed_s + last.left_s == pytest.approx(100.0)
    assert [one.elapsed_s for one in sink.seen] == sorted(one.elapsed_s for one in sink.seen)
    assert outcome.elapsed_s == pytest.approx(last.elapsed_s)
