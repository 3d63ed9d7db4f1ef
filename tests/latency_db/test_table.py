"""A target's table: what is in it, what it says of a network, and what it says where something is missing."""

from __future__ import annotations

import json
import logging
import math
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.protocol import Target
from backends.samples import Visit, estimate
from latency_db import spaces
from latency_db.calibration import Calibration, PairKey
from latency_db.calibration_row import CalibrationRow
from latency_db.errors import AmbiguousTargetError, InputError, NotFoundError, PredictionError
from latency_db.keys import ImageSize, OpSpec
from latency_db.relaxed import RelaxedLatency
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.space import FasterSegSpace
from tests.latency_db.program import document, invoke, the_line
from tests.latency_db.tables import IMAGE, random_calibration, random_table

SPACE = FasterSegSpace(layers=4, chis=(4, 8))
SMALL = ("--space-setting", "layers=4", "--space-setting", "chis=[4,8]", "--image-size", str(IMAGE))
SPECS = list(SPACE.specs(IMAGE))
REFERENCE_MS = 2.0


def target(device: str = "some-device", **changes: Any) -> Target:
    values: dict[str, Any] = {
        "device": device,
        "device_name": "Some Device",
        "backend": "ort",
        "runtime": "onnxruntime",
        "runtime_version": "1.0",
        "precision": "fp32",
        "fingerprint": "f",
    }
    return Target(**(values | changes))


def ratios_of(spec: OpSpec) -> list[float]:
    work = spec.c_in * spec.c_out * (2 if spec.op.endswith("x2") else 1) / spec.s / spec.stride
    base = (0.1 + work / 1000) * (1 + zlib.crc32(spec.name.encode()) % 97 / 970)
    return [base * factor for factor in (0.99, 1.0, 1.01, 1.005, 0.995, 1.3)]


def measure(store: Store, specs: Iterable[OpSpec], of: Target | None = None) -> int:
    """Store six visits of each operator, whose bare times are all twice what they would be undisturbed."""
    target_id = store.ensure_target(of or target())
    ids = store.ensure_specs(list(specs))
    run = store.start_run(target_id, "profile", series=1, plan={}, environment={})
    visits = []
    for spec, id_ in ids.items():
        for number, ratio in enumerate(ratios_of(spec)):
            slow = 2 * REFERENCE_MS
            visits.append((id_, Visit(round=number, elapsed_ms=(ratio * slow,), reference_ms=(slow, slow), repeats=1,
                                      warmup=1)))  # fmt: skip
    store.add_visits(run, visits)
    store.finish_run(run, "completed", None, REFERENCE_MS)
    return target_id


def load(store: Store, **options: Any) -> LatencyTable:
    return LatencyTable.load(**({"device": "some-device", "space": SPACE, "image": IMAGE, "store": store} | options))


def test_a_measured_table(store: Store) -> None:
    measure(store, SPECS)
    table = load(store)
    assert table.specs == tuple(sorted(SPECS)) and set(table.provenance) == {"measured"}
    for spec in SPECS[:20]:
        expected = estimate(ratios_of(spec)).scaled(REFERENCE_MS)
        index = table.position(spec)
        assert table.latencies_ms[index] == pytest.approx(expected.value)
        assert table.rel_ci[index] == pytest.approx(expected.rel_ci)


def test_it_cannot_be_changed(store: Store) -> None:
    latencies = np.ones(len(SPECS))
    table = random_table(SPACE)
    with pytest.raises(ValueError, match="read-only"):
        table.latencies_ms[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        table.in_network_ms[0] = 1
    with pytest.raises(AttributeError):
        table.device = "other"
    made = LatencyTable(
        device="d", target="t", space=SPACE, image=IMAGE, batch=1, specs=tuple(SPECS), latencies_ms=latencies,
        rel_ci=latencies, provenance=("measured",) * len(SPECS), calibration=Calibration.identity(), reference_ms=1.0,
    )  # fmt: skip
    latencies[0] = 5
    assert made.latencies_ms[0] == 1


def test_the_targets_calibration_is_used(store: Store) -> None:
    target_id = measure(store, SPECS)
    calibration = random_calibration({spec.op for spec in SPECS}, np.random.default_rng(0))
    store.add_calibration(
        CalibrationRow(
            target_id=target_id,
            space=SPACE.name,
            space_digest=spaces.digest(SPACE),
            image=IMAGE,
            batch=1,
            method=calibration.method,
            cv_error=0.01,
            networks=24,
            terms=calibration.to_terms(),
        )
    )
    table = load(store)
    assert table.calibration.method == "pair" and table.reference_ms == REFERENCE_MS
    pair = next(iter(calibration.pair_terms))
    assert table.pair_ms(pair) == pytest.approx(calibration.pair_terms[pair] * REFERENCE_MS)
    assert table.pair_ms(PairKey("no", 1, "such", 1, 8)) == 0
    decomposition = SPACE.decompose(SPACE.sample(random.Random(0)), IMAGE)
    ratios = {spec: estimate(ratios_of(spec)).value for spec in decomposition.specs}
    expected = calibration.predict(decomposition.specs, decomposition.edges, ratios) * REFERENCE_MS
    assert table.predict(decomposition).latency_ms == pytest.approx(expected)
    assert load(store, space=FasterSegSpace(layers=3, chis=(4, 8))).calibration.method == "identity"


def test_one_visit_says_nothing_of_how_sure_it_is(store: Store) -> None:
    target_id = store.ensure_target(target())
    ids = store.ensure_specs(SPECS)
    run = store.start_run(target_id, "import", series=1, plan={}, environment={})
    store.add_values(run, [(id_, 0.25) for id_ in ids.values()], "imported")
    table = load(store)
    assert np.isnan(table.rel_ci).all() and (table.latencies_ms == 0.25).all()
    prediction = table.predict(SPACE.decompose(SPACE.sample(random.Random(0)), IMAGE))
    assert math.isnan(prediction.rel_ci)
    assert prediction.latency_ms == pytest.approx(0.25 * len(prediction.parts))


def test_a_missing_operator_names_the_command_that_measures_it(store: Store) -> None:
    measure(store, SPECS[:-2])
    with pytest.raises(PredictionError, match=r"2 of \d+ operators .*latency-db profile --backend ort --device"):
        load(store)
    with pytest.raises(PredictionError, match="--image-size 64x64"):
        load(store, image=ImageSize(64, 64))
    assert len(load(store, specs=SPECS[:5]).specs) == 5


def test_missing_operators_are_predicted_on_request_and_marked(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    lacking = [spec for spec in SPECS if spec.op == "conv" and spec.c_in == 128][:1]
    assert lacking
    target_id = measure(store, [spec for spec in SPECS if spec not in lacking])
    assert target_id
    with caplog.at_level(logging.WARNING):
        table = load(store, predict_missing=True, extrapolate=True)
    assert [
        spec for spec, origin in zip(table.specs, table.provenance, strict=True) if origin == "predicted"
    ] == lacking
    assert "1 of" in caplog.text and "predicted" in caplog.text
    assert table.latencies_ms[table.position(lacking[0])] > 0
    # With so few latencies of a kind there is no model of it to be sure of.
    assert np.isnan(table.rel_ci[table.position(lacking[0])])


def test_an_unknown_device(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nonesuch"):
        load(store, device="nonesuch")


def test_stored_latencies_are_never_passed_over_for_the_shipped_model(store: Store) -> None:
    measure(store, SPECS, target("1080ti"))
    with pytest.raises(NotFoundError):
        load(store, device="1080ti", settings={"threads": 4})
    assert set(load(store, device="1080ti").provenance) == {"measured"}


def test_the_shipped_model_is_named_where_a_backend_hides_it(store: Store) -> None:
    with pytest.raises(NotFoundError, match="without a backend the model"):
        load(store, device="1080ti", backend="ort")


def test_the_command_is_for_that_very_target_and_space(store: Store) -> None:
    measure(store, SPECS[:-1], target(settings={"threads": 2}))
    with pytest.raises(PredictionError, match=r"--setting threads=2 --space-setting layers=4 .*chis=\[4,8\]"):
        load(store)
    with pytest.raises(PredictionError, match="--space-setting"):
        load(store, specs=[OpSpec("classify", 8, 999, 7, 1, IMAGE)])


def test_several_targets_are_listed(store: Store) -> None:
    measure(store, SPECS)
    measure(store, SPECS, target(runtime_version="2.0"))
    with pytest.raises(AmbiguousTargetError, match="2 targets match"):
        load(store)
    key = target(runtime_version="2.0").key
    assert key[:8] in load(store, device=key).target


def test_a_shipped_device_works_without_any_import(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table = LatencyTable.load(device="1080ti", space=FasterSegSpace(), store=store)
    assert set(table.provenance) == {"predicted"} and (table.rel_ci[np.isfinite(table.rel_ci)] >= 0).all()
    assert len(caplog.records) == 1 and "1080ti" in caplog.text
    assert 3 < float(RelaxedLatency(table)(*(_zeros(table))).mean()) < 20


def _zeros(table: LatencyTable) -> tuple[Any, Any, Any]:
    import torch

    relaxed = RelaxedLatency(table)
    alpha, beta, gamma = (
        torch.zeros(shape) for shape in (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape)
    )
    return alpha, beta, gamma


def test_a_space_that_is_no_lattice_has_no_relaxed_latency() -> None:
    class Chain(FasterSegSpace):
        def lattice_specs(self, image: ImageSize, batch: int = 1) -> None:
            return None

    with pytest.raises(InputError, match="no lattice"):
        RelaxedLatency(random_table(Chain(layers=3)))


def test_sensitivity_where_an_axis_changes_nothing(database: Path) -> None:
    settings = ("--space-setting", "layers=4", "--space-setting", "chis=[4]", "--image-size", str(IMAGE))
    found = document(database, "sensitivity", "--device", "some-device", *settings)
    assert found["delta_expansion_ms"] == 0 and found["delta_operator_ms"] > 0 and found["w1"] is None
    assert "changes nothing" in invoke(database, "sensitivity", "--device", "some-device", *settings).stdout


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        LatencyTable(
            device="d", target="t", space=SPACE, image=IMAGE, batch=1, specs=tuple(SPECS), latencies_ms=np.ones(3),
            rel_ci=np.ones(3), provenance=(), calibration=Calibration.identity(), reference_ms=1.0,
        )  # fmt: skip


# The commands


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    with Store.open(str(path)) as store:
        measure(store, SPECS)
    return path


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(SPACE.to_json(SPACE.sample(random.Random(5)))), encoding="utf-8")
    return path


def test_predict(database: Path, architecture: Path) -> None:
    found = document(database, "predict", str(architecture), "--device", "some-device", *SMALL, "--breakdown")
    assert found["latency_ms"] == pytest.approx(sum(row["latency_ms"] for row in found["operators"]))
    assert sum(row["share"] for row in found["operators"]) == pytest.approx(1)
    assert 0 < found["rel_ci"] < 0.1
    assert found["provenance"] == {"measured": len(found["operators"])}
    text = invoke(database, "predict", str(architecture), "--device", "some-device", *SMALL)
    assert f"{found['latency_ms']:.4f} ms" in text.stdout


def test_predict_a_built_in_network_on_the_shipped_device(database: Path) -> None:
    found = document(database, "predict", "fasterseg-student", "--device", "1080ti")
    assert set(found["provenance"]) == {"predicted"}
    assert found["latency_ms"] == pytest.approx(5.70, rel=0.05)
    result = invoke(database, "predict", "fasterseg-student", "--device", "1080ti", "--breakdown")
    assert result.exit_code == 0 and "zoomed_conv_x2" in result.stdout


def test_sensitivity(database: Path) -> None:
    found = document(database, "sensitivity", "--device", "some-device", *SMALL)
    keys = {"delta_operator_ms", "delta_downsample_ms", "delta_expansion_ms", "w1", "w2", "w3"}
    assert keys <= set(found)
    assert found["w1"] + found["w2"] + found["w3"] == pytest.approx(1)
    assert "χ" in invoke(database, "sensitivity", "--device", "some-device", *SMALL).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "nonesuch.json", "--device", "some-device"), "no built-in architecture"),
        (("predict", "fasterseg-student", "--device", "nonesuch"), "nonesuch"),
        (("predict", "fasterseg-student", "--device", "some-device"), "latency-db profile"),
        (("predict", "fasterseg-student", "--device", "some-device", "--image-size", "1x1"), "image size"),
        (("sensitivity", "--device", "some-device"), "latency-db profile"),
        (("sensitivity", "--device", "some-device", "--space-setting", "layers=" + "[" * 100_000), "layers"),
        (("sensitivity", "--device", "some-device", "--space-setting", "layers=" + "9" * 5000), "layers"),
        (("predict", "", "--device", "some-device"), "no name"),
    ],
)
def test_mistakes_are_one_line(database: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in the_line(invoke(database, *arguments))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "\x00\xff", "[" * 100_000, '{"format": ' + "9" * 5000 + "}"], ids=range(7)
)
def test_files_that_are_no_architecture(database: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content.encode("latin-1"))
    assert "bad.json" in the_line(invoke(database, "predict", str(path), "--device", "some-device", *SMALL))
