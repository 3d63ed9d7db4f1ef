"""What the store takes in and gives back, on every kind of database."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends.counting import Counted, Visited
from backends.protocol import Target
from backends.samples import Visit, estimate
from latency_db.calibration import Term
from latency_db.errors import AmbiguousTargetError, InputError, NotFoundError, StorageError
from latency_db.keys import ImageSize, OpSpec
from latency_db.store import CalibrationRow, SpecSeries, Store

IMAGE = ImageSize(256, 512)
TARGET = Target(
    device="cpu",
    device_name="A processor",
    backend="ort",
    runtime="onnxruntime",
    runtime_version="1.2",
    precision="fp32",
    settings={"threads": 1, "graph_optimization": "all"},
    fingerprint="f" * 16,
    environment={"cores": 2, "model": "A processor"},
)
SPEC = OpSpec(op="conv_x2", s=8, c_in=64, c_out=128, stride=2, image=IMAGE)
OTHER = replace(SPEC, op="skip", c_in=32, c_out=32, stride=1)


def visit(round: int, elapsed_ms: float = 2.0) -> Visit:
    return Visit(
        round=round,
        elapsed_ms=(elapsed_ms, elapsed_ms * 1.01, elapsed_ms * 1.02),
        reference_ms=(1.0, 1.0, 1.0, 1.0),
        repeats=4,
        warmup=2,
        flags=("throttled",),
    )


class Filled:
    """A store with one target, two operators and one run."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.target_id = store.ensure_target(TARGET)
        self.ids = store.ensure_specs([SPEC, OTHER])
        self.run_id = self.run()

    def run(self, kind: str = "profile", series: int = 1) -> int:
        return self.store.start_run(
            self.target_id, kind, series=series, plan={"only": ["a"]}, environment={"load": 0.1}
        )

    def add(self, spec: OpSpec, *rounds: int, run_id: int | None = None, elapsed_ms: float = 2.0) -> None:
        items = [(self.ids[spec], visit(round, elapsed_ms)) for round in rounds]
        self.store.add_visits(run_id or self.run_id, items)


@pytest.fixture
def filled(store: Store) -> Filled:
    return Filled(store)


def test_a_target_comes_back_as_it_was_and_is_stored_once(store: Store) -> None:
    first = store.ensure_target(TARGET)
    assert store.ensure_target(replace(TARGET, environment={})) == first
    (row,) = store.targets()
    assert row.target == TARGET
    assert (row.id, row.series, row.reference_ms, row.n_specs, row.n_measurements) == (first, 0, None, 0, 0)
    assert row.provenances == ()
    assert [(device.slug, device.name, device.targets) for device in store.devices()] == [("cpu", "A processor", 1)]


def test_what_is_stored_of_a_target_is_counted(filled: Filled) -> None:
    filled.add(SPEC, 0, 1)
    filled.store.heartbeat(filled.run_id, 1.5)
    second = filled.run(series=2)
    filled.store.finish_run(second, "completed", "all tight", 1.25)
    imported = filled.run("import", series=2)
    filled.store.add_values(imported, [(filled.ids[OTHER], 3.0)], "imported")
    (row,) = filled.store.targets("cpu", "ort")
    assert (row.series, row.reference_ms, row.n_specs, row.n_measurements) == (2, 1.25, 2, 3)
    assert row.provenances == ("measured", "imported")
    assert filled.store.targets("gpu") == []
    assert filled.store.targets(backend="torch") == []


def test_specs_keep_their_ids_and_are_stored_once(store: Store) -> None:
    specs = [replace(SPEC, c_in=8 * n, branches=1 + n % 2, batch=1 + n % 3) for n in range(1, 1500)]
    random.Random(1).shuffle(specs)
    ids = store.ensure_specs(specs)
    assert len(set(ids.values())) == len(specs)
    assert store.ensure_specs([*specs[:10], *specs[:10]]) == {spec: ids[spec] for spec in specs[:10]}
    assert store.ensure_specs([]) == {}


def test_visits_come_back_in_order_with_every_sample(filled: Filled) -> None:
    filled.add(SPEC, 0, 1, 2)
    filled.add(OTHER, 0, elapsed_ms=0.5)
    series = filled.store.visit_ratios(filled.target_id)
    assert set(series) == {SPEC, OTHER}
    assert series[SPEC].rounds == (0, 1, 2)
    assert series[SPEC].ratios == (visit(0).ratio,) * 3
    assert series[SPEC].latencies_ms == (visit(0).median_ms,) * 3
    assert (series[SPEC].series, series[SPEC].provenance) == (1, "measured")
    assert abs(datetime.now(UTC) - series[SPEC].created_at) < timedelta(minutes=1)
    assert filled.store.one(filled.target_id, SPEC) == series[SPEC]
    assert filled.store.one(filled.target_id, replace(SPEC, c_in=8)) is None
    raw = list(filled.store.raw_measurements(filled.target_id))
    assert [item.visit for item in raw] == [visit(0), visit(1), visit(2), visit(0, 0.5)]
    assert [item.spec for item in raw] == [SPEC] * 3 + [OTHER]
    assert {(item.run_id, item.status, item.reason) for item in raw} == {(filled.run_id, "ok", None)}


def test_raw_measurements_go_on_past_a_page(filled: Filled) -> None:
    filled.add(SPEC, *range(2100))
    assert [item.round for item in filled.store.raw_measurements(filled.target_id)] == list(range(2100))


def test_the_newest_series_of_the_best_provenance_counts(filled: Filled) -> None:
    predicted = filled.run("predict", series=9)
    filled.store.add_values(predicted, [(filled.ids[SPEC], 9.0), (filled.ids[OTHER], 8.0)], "predicted")
    assert filled.store.visit_ratios(filled.target_id)[SPEC].provenance == "predicted"
    imported = filled.run("import", series=5)
    filled.store.add_values(imported, [(filled.ids[SPEC], 7.0)], "imported")
    assert filled.store.visit_ratios(filled.target_id)[SPEC].latencies_ms == (7.0,)
    filled.add(SPEC, 0, 1)
    second = filled.run(series=2)
    filled.add(SPEC, 0, run_id=second, elapsed_ms=4.0)
    series = filled.store.visit_ratios(filled.target_id)
    assert (series[SPEC].series, series[SPEC].ratios) == (2, (visit(0, 4.0).ratio,))
    assert (series[OTHER].provenance, series[OTHER].ratios, series[OTHER].latencies_ms) == ("predicted", (), (8.0,))
    assert filled.store.one(filled.target_id, SPEC) == series[SPEC]
    assert filled.store.visit_ratios(filled.target_id, run_id=filled.run_id)[SPEC].rounds == (0, 1)
    assert filled.store.visit_ratios(filled.target_id, exclude_run=second)[SPEC].series == 1


def test_visits_are_narrowed_by_image_batch_and_time(filled: Filled) -> None:
    large = replace(SPEC, image=ImageSize(1024, 2048))
    four = replace(SPEC, batch=4)
    filled.ids |= filled.store.ensure_specs([large, four])
    for spec in (SPEC, large, four):
        filled.add(spec, 0)
    assert set(filled.store.visit_ratios(filled.target_id, image=IMAGE)) == {SPEC, four}
    assert set(filled.store.visit_ratios(filled.target_id, image=IMAGE, batch=1)) == {SPEC}
    now = datetime.now(UTC)
    assert len(filled.store.visit_ratios(filled.target_id, before=now + timedelta(seconds=1))) == 3
    assert filled.store.visit_ratios(filled.target_id, before=now - timedelta(hours=1)) == {}


def test_two_runs_of_one_series_add_up(filled: Filled) -> None:
    filled.add(SPEC, 0, 1)
    filled.add(SPEC, 0, 2, run_id=filled.run())
    assert filled.store.visit_ratios(filled.target_id)[SPEC].rounds == (0, 1, 0, 2)


def test_a_failure_is_a_row_until_a_visit_succeeds(filled: Filled) -> None:
    filled.store.add_failure(filled.run_id, filled.ids[SPEC], 0, "no such kernel")
    assert filled.store.failures(filled.target_id) == {SPEC: "no such kernel"}
    assert filled.store.visit_ratios(filled.target_id) == {}
    second = filled.run()
    assert filled.store.failures(filled.target_id, run_id=second) == {}
    filled.add(SPEC, 0, run_id=second)
    assert filled.store.failures(filled.target_id) == {}
    assert filled.store.failures(filled.target_id, run_id=filled.run_id) == {SPEC: "no such kernel"}


def test_a_batch_of_visits_is_stored_whole_or_not_at_all(filled: Filled, one_line: Any) -> None:
    filled.add(SPEC, 0)
    with pytest.raises(StorageError) as error:
        filled.add(SPEC, 1, 0)
    one_line(error.value)
    with pytest.raises(StorageError):
        filled.store.add_visits(filled.run_id, [(filled.ids[OTHER], visit(0)), (10**6, visit(0))])
    assert [item.round for item in filled.store.raw_measurements(filled.target_id)] == [0]


@pytest.mark.parametrize("latency_ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_latency_that_is_none_is_refused(filled: Filled, latency_ms: float) -> None:
    with pytest.raises(InputError, match="positive"):
        filled.store.add_values(filled.run_id, [(filled.ids[SPEC], latency_ms)], "imported")


def test_runs_keep_their_state(filled: Filled) -> None:
    filled.store.heartbeat(filled.run_id, None)
    filled.store.heartbeat(filled.run_id, 1.5)
    filled.store.heartbeat(filled.run_id, None)
    filled.store.finish_run(filled.run_id, "interrupted", "Ctrl-C", None)
    other = filled.store.ensure_target(replace(TARGET, backend="torch"))
    (run,) = filled.store.runs(filled.target_id)
    assert (run.kind, run.status, run.reason, run.reference_ms) == ("profile", "interrupted", "Ctrl-C", 1.5)
    assert (run.plan, run.environment) == ({"only": ["a"]}, {"load": 0.1})
    assert run.finished_at is not None and run.started_at <= run.heartbeat_at <= run.finished_at
    assert filled.store.runs(other) == []
    assert len(filled.store.runs()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, None])
def test_a_run_ends_as_its_block_does(filled: Filled, error: type[BaseException] | None) -> None:
    store = filled.store
    with (
        contextlib.nullcontext() if error is None else pytest.raises(error),
        store.running(filled.target_id, "import", series=3, plan={"a": 1}, environment={}) as run,
    ):
        assert store.runs()[-1].status == "running" and run.id == store.runs()[-1].id
        run.reason, run.reference_ms = "all there", 2.5
        if error is not None:
            raise error
    row = store.runs()[-1]
    assert (row.kind, row.series, row.plan, row.finished_at is not None) == ("import", 3, {"a": 1}, True)
    if error is None:
        assert (row.status, row.reason, row.reference_ms) == ("completed", "all there", 2.5)
    else:
        assert (row.status, row.reason, row.reference_ms) == ("interrupted", error.__name__, None)


def test_only_measured_ratios_count_in_units_of_the_reference() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    measured = SpecSeries(
        series=1,
        rounds=(0,),
        all_ratios=(2.0,),
        all_latencies_ms=(3.0,),
        clean=(True,),
        provenance="measured",
        created_at=moment,
    )
    ratios, latencies_ms = Counted(values=(2.0,)), Counted(values=(3.0,))
    assert measured.values(1.5) == (ratios, 1.5)
    assert measured.values(None) == (latencies_ms, 1.0)
    # A value without samples, and another target's ratios, which know nothing of this one's reference.
    assert replace(measured, all_ratios=()).values(1.5) == (latencies_ms, 1.0)
    assert replace(measured, all_ratios=()).visited == Visited()
    assert replace(measured, provenance="imported").values(1.5) == (latencies_ms, 1.0)


def observed(round: int, scale: float, *flags: str) -> Visit:
    """A visit that somebody looked at."""
    seen = {"run_queue_wait_ms": 1.5, "gpu_clock_reasons": ("gpu_idle",), "governor": "performance", "gpu_power_w": 9}
    return replace(visit(round, scale), flags=flags, observed=seen)


def test_what_was_seen_of_a_visit_is_stored_with_it(filled: Filled) -> None:
    store, target_id = filled.store, filled.target_id
    run = store.start_run(target_id, "profile", series=9, plan={}, environment={})
    found = observed(0, 1.0, "noisy", "throttled")
    store.add_visits(run, [(filled.ids[SPEC], found)])
    stored = [row.visit for row in store.raw_measurements(target_id) if row.series == 9]
    assert stored == [found]
    assert stored[0] is not None and stored[0].clean is False
    assert all(row.visit.observed is None for row in store.raw_measurements(target_id) if row.visit and row.series < 9)


def test_flagged_visits_are_left_out_of_every_estimate(filled: Filled) -> None:
    store, target_id = filled.store, filled.target_id
    run = store.start_run(target_id, "profile", series=9, plan={}, environment={})
    flags: list[tuple[str, ...]] = [(), ("contended",), ("noisy",), ("throttled",)]
    visits = [observed(number, 2.0 + 4 * (number % 2), *one) for number, one in enumerate(flags)]
    store.add_visits(run, [(filled.ids[SPEC], one) for one in visits])
    series = store.visit_ratios(target_id)[SPEC]
    assert series.rounds == (0, 1, 2, 3)
    assert series.ratios == (visit(0).ratio,) * 2
    assert series.visited.clean == [True, False, True, False]
    assert store.one(target_id, SPEC) == series
    (row,) = [row for row in store.query() if row.spec == SPEC]
    assert (row.visits, row.left_out, row.flagged) == (2, 2, False)
    counts = store.flag_counts(run)
    assert counts.by_flag == {"contended": 1, "noisy": 1, "throttled": 1} and counts.unclean == 2
    assert counts.line == "contended: 1, noisy: 1, throttled: 1; 2 throttled or contended"


def test_with_fewer_than_two_clean_visits_all_count_and_that_is_said(filled: Filled) -> None:
    store, target_id = filled.store, filled.target_id
    run = store.start_run(target_id, "profile", series=9, plan={}, environment={})
    visits = [observed(0, 1.0), observed(1, 5.0, "contended"), observed(2, 5.0, "contended")]
    store.add_visits(run, [(filled.ids[SPEC], one) for one in visits])
    (row,) = [row for row in store.query() if row.spec == SPEC]
    assert (row.visits, row.left_out, row.flagged) == (3, 0, True)
    assert [other.flagged for other in store.query() if other.spec != SPEC].count(True) == 0


def test_flagged_visits_to_networks_are_left_out_too(filled: Filled) -> None:
    store, target_id = filled.store, filled.target_id
    network = store.ensure_network("fasterseg", {"scales": [8]}, {"cells": [1]}, SPEC.image)
    run = store.start_run(target_id, "validate", series=9, plan={}, environment={})
    visits = [observed(0, 2.0), observed(1, 5.0, "throttled"), observed(2, 2.0)]
    store.add_visits(run, [(network, one) for one in visits], network=True)
    assert store.network_visits(target_id)[network].ratios == (visit(0).ratio,) * 2


def test_a_run_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no run 7"):
        store.heartbeat(7, None)
    with pytest.raises(NotFoundError, match="no run 7"):
        store.add_failure(7, 1, 0, "why")


def test_resolving_prefers_measured_and_lists_what_is_ambiguous(store: Store, one_line: Any) -> None:
    ids = {}
    for version, provenance in (("1", "predicted"), ("2", "imported"), ("3", "measured"), ("4", None)):
        ids[version] = store.ensure_target(replace(TARGET, runtime_version=version))
        spec_id = store.ensure_specs([SPEC])[SPEC]
        run_id = store.start_run(ids[version], "profile", series=1, plan={}, environment={})
        if provenance == "measured":
            store.add_visits(run_id, [(spec_id, visit(0))])
        elif provenance is not None:
            store.add_values(run_id, [(spec_id, 1.0)], provenance)
    assert store.resolve_target("cpu").id == ids["3"]
    assert store.resolve_target(None, "ort", {"threads": 1}).id == ids["3"]
    fifth = store.ensure_target(replace(TARGET, runtime_version="5", settings={"threads": 2}))
    store.add_visits(store.start_run(fifth, "profile", series=1, plan={}, environment={}), [(spec_id, visit(0))])
    with pytest.raises(AmbiguousTargetError, match=r"2 targets match: .*threads=1.*threads=2") as error:
        store.resolve_target("cpu")
    one_line(error.value)
    assert store.resolve_target("cpu", None, {"threads": 2}).id == fifth
    assert store.resolve_target(store.resolve_target("cpu", None, {"threads": 2}).target.key[:8]).id == fifth


def test_resolving_what_is_not_there_names_the_command(store: Store, one_line: Any) -> None:
    store.ensure_target(TARGET)
    with pytest.raises(NotFoundError, match="latency-db profile --backend ort --device 1080ti") as error:
        store.resolve_target("1080ti", "ort")
    assert "latency-db import" in one_line(error.value)
    with pytest.raises(NotFoundError):
        store.resolve_target("cpu", None, {"threads": 8})


def test_query_narrows_by_every_column_and_scales_by_the_reference(filled: Filled) -> None:
    filled.add(SPEC, 0, 1, 2)
    filled.store.heartbeat(filled.run_id, 3.0)
    imported = filled.run("import")
    filled.store.add_values(imported, [(filled.ids[OTHER], 0.25)], "imported")
    measured, brought = filled.store.query()
    wanted = estimate([visit(0).ratio] * 3)
    assert (measured.spec, measured.visits, measured.provenance) == (SPEC, 3, "measured")
    assert measured.latency_ms == pytest.approx(wanted.value * 3.0)
    assert measured.rel_ci == pytest.approx(wanted.rel_ci)
    assert (measured.device, measured.backend, measured.runtime_version) == ("cpu", "ort", "1.2")
    assert (brought.spec, brought.latency_ms, brought.rel_ci, brought.provenance) == (OTHER, 0.25, None, "imported")
    only_first: list[dict[str, Any]] = [
        *({"op": "conv_x2"}, {"chi_in": 8}, {"chi_out": 8}, {"c_in": 64}, {"c_out": 128}, {"stride": 2}),
        *({"provenance": "measured"}, {"limit": 1}),
    ]
    for narrow in only_first:
        assert filled.store.query(**narrow) == [measured], narrow
    assert len(filled.store.query(device="cpu", backend="ort", s=8, image=IMAGE)) == 2
    nothing: list[dict[str, Any]] = [
        *({"device": "x"}, {"backend": "x"}, {"s": 16}, {"image": ImageSize(64, 64)}, {"provenance": "predicted"}),
        {"limit": 0},
    ]
    for narrow in nothing:
        assert filled.store.query(**narrow) == [], narrow


def test_query_without_a_reference_gives_the_plain_median(filled: Filled) -> None:
    filled.add(SPEC, 0)
    assert filled.store.query()[0].latency_ms == visit(0).median_ms


def test_networks_and_their_visits(filled: Filled) -> None:
    store, settings, architecture = filled.store, {"scales": [8, 16]}, {"cells": [{"op": "skip", "s": 8}]}
    first = store.ensure_network("fasterseg", settings, architecture, IMAGE)
    assert store.ensure_network("fasterseg", dict(settings), dict(architecture), IMAGE) == first
    second = store.ensure_network("fasterseg", {"scales": [8]}, architecture, IMAGE)
    assert len({first, second, store.ensure_network("fasterseg", settings, architecture, IMAGE, 2)}) == 3
    store.add_visits(filled.run_id, [(first, visit(0, 30.0)), (first, visit(1, 30.0))], network=True)
    store.add_failure(filled.run_id, second, 0, "too large", network=True)
    visits = store.network_visits(filled.target_id)
    assert set(visits) == {first}
    assert visits[first].ratios == (visit(0, 30.0).ratio,) * 2
    assert store.network_visits(filled.target_id, run_id=filled.run()) == {}
    assert store.visit_ratios(filled.target_id) == {}
    network = store.networks([first, 10**6])[first]
    assert (network.space, network.space_settings, network.architecture) == ("fasterseg", settings, architecture)
    assert (network.image, network.batch) == (IMAGE, 1)


def test_a_calibration_is_a_new_version_each_time(filled: Filled) -> None:
    terms = (
        Term(term="global", value=1.02),
        Term(term="boundary", value=0.3),
        Term(term="pair", value=-0.01, op="conv", next_op="merge", stride=1, next_stride=2, s=8),
    )
    row = CalibrationRow(
        target_id=filled.target_id,
        space="fasterseg",
        space_digest="d" * 64,
        image=IMAGE,
        batch=1,
        method="ridge",
        cv_error=0.01,
        networks=40,
        run_id=filled.run_id,
        terms=terms,
    )
    key = (filled.target_id, "fasterseg", "d" * 64, IMAGE, 1)
    assert filled.store.calibration(*key) is None
    filled.store.add_calibration(row)
    assert filled.store.calibration(*key) == replace(row, version=1)
    filled.store.add_calibration(replace(row, terms=(), cv_error=0.02))
    assert filled.store.calibration(*key) == replace(row, version=2, terms=(), cv_error=0.02)
    assert filled.store.calibration(filled.target_id, "fasterseg", "e" * 64, IMAGE) is None
