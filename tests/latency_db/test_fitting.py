"""Fitting to what a database holds, and filling in what it lacks."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.protocol import Target
from backends.samples import Visit
from latency_db.device_model import load
from latency_db.errors import NotFoundError, PredictionError
from latency_db.fitting import FitResult, fit_target
from latency_db.keys import ImageSize, OpSpec
from latency_db.rows import TargetRow
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.fakes import FakeBackend
from tests.latency_db.program import document, invoke, the_line

IMAGE = ImageSize(256, 512)
SPACE = FasterSegSpace(layers=3, chis=(4, 6, 8))
SPECS = SPACE.specs(IMAGE)
REFERENCE_MS = 0.5
GAPS = {spec for spec in SPECS if (spec.op, spec.s, spec.c_in, spec.stride) == ("conv", 16, 96, 1) and spec.c_out == 96}


def latency_ms(spec: OpSpec) -> float:
    return 0.01 + spec.c_in * spec.c_out * spec.output_shape[2] * spec.output_shape[3] / 2e8


def visit(ms: float) -> Visit:
    """One sample, taken when everything ran at half speed."""
    return Visit(round=0, elapsed_ms=(2 * ms,), reference_ms=(2 * REFERENCE_MS, 2 * REFERENCE_MS), repeats=1, warmup=1)


def measured(store: Store, target: Target, specs: list[OpSpec]) -> TargetRow:
    target_id = store.ensure_target(target)
    ids = store.ensure_specs(specs)
    run_id = store.start_run(target_id, "profile", series=1, plan={}, environment={})
    store.add_visits(run_id, [(ids[spec], visit(latency_ms(spec))) for spec in specs])
    store.finish_run(run_id, "completed", None, REFERENCE_MS)
    return store.resolve_target(target.device, target.backend)


def valued(store: Store, target_id: int, values: dict[OpSpec, float], provenance: str, series: int = 1) -> None:
    ids = store.ensure_specs(list(values))
    run_id = store.start_run(target_id, "import", series=series, plan={}, environment={})
    store.add_values(run_id, [(ids[spec], value) for spec, value in values.items()], provenance)
    store.finish_run(run_id, "completed", None, None)


def run(store: Store, row: TargetRow, **options: bool) -> FitResult:
    return fit_target(store, row, space=SPACE, image=IMAGE, **options)


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    """One kind of database is enough here: what is stored, and how, the store's own tests hold on every kind."""
    with Store.open(sqlite_url) as opened:
        yield opened


@pytest.fixture
def target() -> Target:
    return FakeBackend().target()


@pytest.fixture
def row(store: Store, target: Target) -> TargetRow:
    """A target of which all is measured but the gaps."""
    return measured(store, target, [spec for spec in SPECS if spec not in GAPS])


def test_gaps_are_filled_in_and_marked_as_predicted(store: Store, row: TargetRow) -> None:
    result = run(store, row)
    assert (result.rows, result.filled) == (len(SPECS) - len(GAPS), len(GAPS)) and GAPS
    found = {latency.spec: latency for latency in store.query(device="simulated")}
    assert set(found) == set(SPECS)
    assert {spec for spec, latency in found.items() if latency.provenance == "predicted"} == GAPS
    for spec in GAPS:
        assert found[spec].latency_ms == pytest.approx(latency_ms(spec), rel=0.05)
    (filled,) = (one for one in store.runs(row.id) if one.kind == "predict")
    assert (filled.id, filled.series, filled.status) == (result.run_id, 2, "completed")
    assert filled.plan["model"] == result.model.to_json()


def test_measured_latencies_are_ratios_times_the_reference(store: Store, row: TargetRow) -> None:
    few = next(spec for spec in SPECS if spec.op == "fuse")
    assert run(store, row, fill=False).model.latency_ms(few) == pytest.approx(latency_ms(few))


def test_measured_goes_before_imported(store: Store, row: TargetRow) -> None:
    before = run(store, row, fill=False).model
    valued(store, row.id, {spec: 100.0 for spec in SPECS if spec not in GAPS}, "imported", series=9)
    assert run(store, row, fill=False).model.kinds == before.kinds


def test_imported_latencies_are_fitted_to(store: Store, target: Target) -> None:
    valued(
        store, store.ensure_target(target), {spec: latency_ms(spec) for spec in SPECS if spec not in GAPS}, "imported"
    )
    result = run(store, store.resolve_target(target.device))
    assert result.filled == len(GAPS) and "imported" in result.model.fitted_to


def test_fitting_anew_does_not_learn_from_predictions_and_takes_their_place(store: Store, row: TargetRow) -> None:
    valued(store, row.id, dict.fromkeys(GAPS, 1000.0), "predicted")
    first, second = run(store, row), run(store, row)
    assert first.model == second.model and first.filled == second.filled == len(GAPS)
    assert store.newest_series(row.id) == 3
    for latency in store.query(device="simulated", provenance="predicted"):
        assert latency.latency_ms == pytest.approx(latency_ms(latency.spec), rel=0.05)


def test_a_measurement_takes_the_place_of_a_prediction(store: Store, row: TargetRow, target: Target) -> None:
    run(store, row)
    measured(store, target, sorted(GAPS))
    assert not [latency for latency in store.query(device="simulated") if latency.provenance == "predicted"]
    result = run(store, row)
    assert (result.filled, result.run_id) == (0, None)


def test_another_image_size_is_refused_whole_unless_extrapolated(
    store: Store, row: TargetRow, one_line: Callable[[BaseException], str]
) -> None:
    half = ImageSize(128, 256)
    with pytest.raises(PredictionError) as caught:
        fit_target(store, row, space=SPACE, image=half)
    message = one_line(caught.value)
    assert "outside" in message or "none of the fitted" in message
    assert "more of" in message and "--extrapolate" in message
    assert not [one for one in store.runs(row.id) if one.kind == "predict"]
    result = fit_target(store, row, space=SPACE, image=half, extrapolate=True)
    assert result.filled == len(SPACE.specs(half)) == len(store.query(device="simulated", image=half))


def test_nothing_to_fit_to_is_one_line(store: Store, target: Target, one_line: Callable[[BaseException], str]) -> None:
    valued(store, store.ensure_target(target), {SPECS[0]: 1.0}, "predicted")
    with pytest.raises(NotFoundError) as caught:
        run(store, store.resolve_target(target.device))
    assert "latency-db profile" in one_line(caught.value)


# The command


@pytest.fixture
def database(tmp_path: Path, target: Target) -> Iterator[Path]:
    path = tmp_path / "some.db"
    with Store.open(str(path)) as store:
        measured(store, target, [spec for spec in SPECS if spec not in GAPS])
    yield path


SMALL = ("--image-size", str(IMAGE), "--space-setting", "layers=3", "--space-setting", "chis=[4,6,8]")


def test_the_command_prints_one_document(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.json"
    found = document(database, "fit", "--device", "simulated", *SMALL, "--output", str(output))
    assert (found["rows"], found["filled"]) == (len(SPECS) - len(GAPS), len(GAPS))
    assert found["target"]["device"] == "simulated" and found["output"] == str(output)
    kinds = {(kind["op"], kind["stride"]): kind for kind in found["kinds"]}
    assert kinds["conv", 1]["n"] > 20 and kinds["conv", 1]["cv_median"] < 0.05
    assert kinds["fuse", 1] == {
        **dict.fromkeys(("cv_median", "cv_mean", "cv_half_width_95")),
        **{"op": "fuse", "stride": 1, "form": "rows", "n": 0, "rows": 1},
    }
    assert load(output).device == "simulated"


def test_the_command_says_the_same_to_people(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.json"
    result = invoke(database, "fit", "--device", "simulated", *SMALL, "--output", str(output))
    assert result.exit_code == 0, result.output
    assert "conv_x2 /2" in result.stdout and str(output) in result.stdout
    assert f"filled in: {len(GAPS)} operators" in result.stdout


def test_the_file_is_written_whole_or_not_at_all(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.json"
    output.write_text("old")
    output.chmod(0o600)
    assert invoke(database, "fit", *SMALL, "--no-fill", "--output", str(output)).exit_code == 0
    assert load(output).kinds and stat.S_IMODE(output.stat().st_mode) & 0o400
    assert [path.name for path in tmp_path.glob("*.json")] == ["model.json"] and not list(tmp_path.glob("tmp*"))


def test_without_filling_nothing_is_stored(database: Path) -> None:
    found = document(database, "fit", *SMALL, "--no-fill")
    assert (found["filled"], found["run"]) == (0, None)
    with Store.open(str(database)) as store:
        assert {one.kind for one in store.runs()} == {"profile"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "toaster"), "no device 'toaster'"),
        (("--backend", "tpu"), "no target of backend 'tpu'"),
        (("--space", "darts"), "no space 'darts'"),
        (("--image-size", "12x"), "HEIGHTxWIDTH"),
        (("--image-size", "128x256"), "--extrapolate"),
        (("--output", "/no/such/folder/model.json"), "cannot write"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_stores_nothing(database: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in the_line(invoke(database, "fit", *SMALL, *arguments))
    with Store.open(str(database)) as store:
        assert {one.kind for one in store.runs()} == {"profile"}
