"""A device model gives back what it was fitted to, finds known laws, and refuses what it cannot know."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_db import device_model
from latency_db.device_model import DeviceModel, features, fit, load, macs, shipped, shipped_devices
from latency_db.errors import ImportFormatError, InputError, PredictionError
from latency_db.keys import MERGE, UPSAMPLE, ImageSize, OpSpec
from latency_db.operators import OPERATORS
from latency_db.table1 import count_macs
from searcher.space import FasterSegSpace

IMAGE = ImageSize(1024, 2048)
SPACE = FasterSegSpace()
CONVS = [spec for spec in SPACE.specs(IMAGE) if spec.op == "conv" and spec.stride == 1]


def roofline_ms(spec: OpSpec) -> float:
    """Launch, multiply-adds at 8 tera a second, bytes at 300 giga a second."""
    sizes = dict(features(spec))
    return 0.01 + (macs(spec) or 0) / 8e9 + (sizes["bytes_in"] + sizes["bytes_out"]) / 3e8


def power_ms(spec: OpSpec) -> float:
    """Nearly proportional to pixels and channels, as small operators on a large device are."""
    pixels = math.prod(spec.output_shape[2:])
    return 2e-4 * pixels**0.55 * spec.c_in**0.4 * spec.c_out**0.6 / 30


LAWS = pytest.mark.parametrize("law", [roofline_ms, power_ms])


def fitted(law: Callable[[OpSpec], float], specs: list[OpSpec], noise: float = 0.0) -> DeviceModel:
    rng = random.Random(1)
    return fit({spec: law(spec) * math.exp(rng.gauss(0, noise)) for spec in specs}, device="toy", fitted_to="a formula")


@pytest.fixture(scope="module")
def model() -> DeviceModel:
    return fitted(roofline_ms, list(SPACE.specs(IMAGE)), noise=0.02)


# Features


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("image", [IMAGE, ImageSize(360, 488), ImageSize(65, 127)], ids=str)
def test_multiply_adds_are_those_that_torch_counts(op: str, image: ImageSize) -> None:
    widths = {"skip": (32, 64, 2), MERGE: (112, 64, 1), "fuse": (128, 128, 1), "classify": (96, 19, 1)}
    c_in, c_out, stride = widths.get(op, (48, 80, 1))
    specs = [OpSpec(op, 8, c_in, c_out, stride, image, 2, 2 if op == "fuse" else 1)]
    if op in ("conv", "conv_x2", "zoomed_conv", "zoomed_conv_x2"):
        specs.append(OpSpec(op, 16, c_in, c_out, 2, image))
    if op == UPSAMPLE:
        specs = [OpSpec(op, 8, 19, 19, 1, image)]
    for spec in specs:
        assert macs(spec) == count_macs(spec), spec.name


def test_an_unknown_operator_has_the_features_of_its_shapes() -> None:
    spec = OpSpec("attention", 8, 64, 64, 1, IMAGE)
    names = [name for name, _ in features(spec)]
    assert macs(spec) is None and "macs" not in names and "pixels" in names and "bytes_in" in names
    others = [OpSpec("attention", 8, c_in, c_out, 1, IMAGE) for c_in in (32, 64, 96) for c_out in (32, 64, 80, 96, 128)]
    found = fit({spec: power_ms(spec) for spec in others}, device="toy", fitted_to="a formula")
    assert found.latency_ms(OpSpec("attention", 8, 48, 72, 1, IMAGE)) == pytest.approx(
        power_ms(OpSpec("attention", 8, 48, 72, 1, IMAGE)), rel=0.1
    )


@pytest.mark.parametrize("spec", SPACE.specs(ImageSize(65, 127))[::7], ids=lambda spec: spec.name)
def test_features_are_finite_and_named_alike_for_one_operator(spec: OpSpec) -> None:
    found = features(spec)
    assert all(math.isfinite(value) for _, value in found)
    assert [name for name, _ in found] == [
        name for name, _ in features(OpSpec(spec.op, 1, 7, 5, spec.stride, ImageSize(64, 64)))
    ]


# Fitting


@LAWS
def test_a_law_is_found_again_between_the_widths_that_were_measured(law: Callable[[OpSpec], float]) -> None:
    found = fitted(law, CONVS, noise=0.01)
    between = [
        OpSpec("conv", s, c_in * s, c_out * s, 1, IMAGE) for s in (8, 16, 32) for c_in in (5, 9) for c_out in (7, 11)
    ]
    errors = [abs(found.latency_ms(spec) / law(spec) - 1) for spec in between]
    assert max(errors) < 0.03
    (kind,) = found.kinds
    assert kind.n == len(CONVS) and kind.errors is not None and not kind.rows
    assert kind.errors.median < 0.02 and kind.errors.median <= kind.errors.half_width_95 < 0.05


@LAWS
def test_cross_validation_says_what_held_out_operators_show(law: Callable[[OpSpec], float]) -> None:
    rng = random.Random(3)
    held_out = set(rng.sample(CONVS, 15))
    noise = {spec: math.exp(rng.gauss(0, 0.05)) for spec in CONVS}
    latencies = {spec: law(spec) * noise[spec] for spec in CONVS}
    found = fit(
        {spec: value for spec, value in latencies.items() if spec not in held_out}, device="toy", fitted_to="noise"
    )
    errors = [abs(found.latency_ms(spec, extrapolate=True) / latencies[spec] - 1) for spec in held_out]
    assert found.kinds[0].errors is not None
    assert 0.5 < np.mean(errors) / found.kinds[0].errors.mean < 2


def test_a_law_holds_at_an_image_size_that_nobody_measured() -> None:
    found = fitted(roofline_ms, CONVS)
    for spec in (
        OpSpec("conv", 16, 128, 96, 1, ImageSize(720, 1440)),
        OpSpec("conv", 8, 64, 64, 1, ImageSize(768, 1536)),
    ):
        assert found.latency_ms(spec) == pytest.approx(roofline_ms(spec), rel=0.05)


def test_the_same_latencies_give_the_same_model() -> None:
    assert fitted(roofline_ms, list(reversed(CONVS))) == fitted(roofline_ms, CONVS)


def test_every_operator_of_a_space_that_was_measured_can_be_predicted(model: DeviceModel) -> None:
    for spec in SPACE.specs(IMAGE):
        assert model.latency_ms(spec) == pytest.approx(roofline_ms(spec), rel=0.15)
        assert 0 <= model.rel_error(spec) < 0.2


def test_an_identity_is_left_out() -> None:
    identity = OpSpec("skip", 8, 64, 64, 1, IMAGE)
    found = fit({identity: 0.003, CONVS[0]: 0.1}, device="toy", fitted_to="two")
    assert [kind.op for kind in found.kinds] == ["conv"]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_latency_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="not a positive number"):
        fit({CONVS[0]: value}, device="toy", fitted_to="nothing")


def test_nothing_to_fit_to_is_refused() -> None:
    with pytest.raises(InputError, match="no latency of toy"):
        fit({}, device="toy", fitted_to="nothing")


# Few rows


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_rows_are_repeated_exactly_and_nothing_else_is_known(n: int) -> None:
    latencies = {OpSpec("fuse", 8, width, width, 1, IMAGE, 1, 2): width / 700 for width in range(64, 64 + 32 * n, 32)}
    found = fit(latencies, device="toy", fitted_to="few")
    assert {spec: found.latency_ms(spec) for spec in latencies} == latencies
    assert {found.rel_error(spec) for spec in latencies} == {0.0}
    other = OpSpec("fuse", 8, 72, 72, 1, IMAGE, 1, 2)
    with pytest.raises(PredictionError, match=r"fuse s8 72→72.* c_in 72 .*--extrapolate.*latency-db profile"):
        found.latency_ms(other)
    assert found.latency_ms(other, extrapolate=True) == pytest.approx(64 / 700 * 72**2 / 64**2)
    assert found.rel_error(other) > 0 and math.isinf(found.rel_error(other)) == (n == 1)


def test_the_few_operators_of_another_size_stand_beside_the_fit(model: DeviceModel) -> None:
    stem = OpSpec("conv", 1, 3, 32, 2, IMAGE)
    (kind,) = (kind for kind in model.kinds if (kind.op, kind.stride) == ("conv", 2))
    assert list(kind.rows) == [stem] and kind.n == 50
    assert kind.ranges["c_in"][0] == 32, "the stem's three channels stretch no range"
    half = OpSpec("conv", 1, 3, 32, 2, ImageSize(512, 1024))
    assert model.latency_ms(half, extrapolate=True) == pytest.approx(model.latency_ms(stem) / 4)


# Ranges


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (OpSpec("conv", 32, 512, 128, 1, IMAGE), "c_in 512 is outside of the fitted 32 to 384"),
        (OpSpec("conv", 8, 64, 20, 1, IMAGE), "c_out 20 is outside"),
        (OpSpec("conv", 32, 256, 256, 1, ImageSize(256, 512)), "pixels 128 is outside of the fitted 2048 to 32768"),
        (OpSpec("conv", 8, 384, 384, 1, IMAGE), "outside"),
        (OpSpec("conv", 32, 128, 128, 1, IMAGE, 2), "batch 2 is outside of the fitted 1 to 1"),
    ],
    ids=lambda value: value.name if isinstance(value, OpSpec) else "",
)
def test_what_lies_outside_is_refused_by_name(
    model: DeviceModel, spec: OpSpec, words: str, one_line: Callable[[BaseException], str]
) -> None:
    with pytest.raises(PredictionError) as caught:
        model.latency_ms(spec)
    message = one_line(caught.value)
    assert spec.name in message and words in message
    assert "--extrapolate" in message and "latency-db profile" in message
    assert model.latency_ms(spec, extrapolate=True) > 0


def test_a_kind_that_was_not_fitted_is_refused(model: DeviceModel, one_line: Callable[[BaseException], str]) -> None:
    spec = OpSpec("conv_group2", 8, 64, 64, 1, IMAGE)
    for extrapolate in (False, True):
        with pytest.raises(PredictionError) as caught:
            model.latency_ms(spec, extrapolate)
        assert "not fitted to conv_group2 at stride 1" in one_line(caught.value)
    with pytest.raises(PredictionError):
        model.rel_error(spec)


def test_a_value_that_is_no_latency_is_an_error(model: DeviceModel) -> None:
    document = model.to_json()
    kind = next(kind for kind in document["kinds"] if (kind["op"], kind["stride"]) == ("conv", 1))
    kind["inside"] = {"form": "power", "intercept": 1e6, "coefficients": {}}
    with pytest.raises(PredictionError, match="says inf ms"):
        DeviceModel.from_json(document).latency_ms(CONVS[0])


# Files


def test_json_gives_the_same_model_back(model: DeviceModel, tmp_path: Path) -> None:
    document = json.loads(json.dumps(model.to_json(), allow_nan=False))
    again = DeviceModel.from_json(document)
    assert again == model and again.to_json() == document
    path = tmp_path / "some.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert load(path) == model
    assert {"latency-db", "numpy", "scikit-learn"} == set(model.versions)


def _set(*path: Any) -> Callable[[Any], None]:
    """A change to a document: the last of ``path`` is put where the others lead."""

    def change(document: Any) -> None:
        *where, last, value = path
        for step in where:
            document = document[step]
        document[last] = value

    return change


def _remove(*path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *where, last = path
        for step in where:
            document = document[step]
        del document[last]

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("format", "pickle"),
        _set("version", 99),
        _set("device", ""),
        _set("fitted_to", None),
        _set("seed", -1),
        _set("seed", True),
        _set("versions", []),
        _set("versions", {"numpy": 2}),
        _set("kinds", []),
        _set("kinds", {}),
        _set("kinds", 0, "conv"),
        _set("surprise", 1),
        _remove("seed"),
        _remove("kinds", 0, "n"),
        _set("kinds", 0, "surprise", 1),
        _set("kinds", 0, "op", ""),
        _set("kinds", 0, "stride", 0),
        _set("kinds", 0, "stride", 10**30),
        _set("kinds", 0, "n", 0),
        _set("kinds", 0, "n", 1.5),
        _set("kinds", 0, "inside", None),
        _set("kinds", 0, "outside", None),
        _set("kinds", 0, "outside", []),
        _set("kinds", 0, "outside", {}),
        _set("kinds", 0, "outside", "form", "power"),
        _set("kinds", 0, "outside", "intercept", -1.0),
        _set("kinds", 0, "outside", {"form": "costs", "intercept": 0.0, "coefficients": {}}),
        _set("kinds", 0, "inside", "form", "pickle"),
        _set("kinds", 0, "inside", "form", ["power"]),
        _set("kinds", 0, "inside", "intercept", "1"),
        _set("kinds", 0, "inside", "intercept", math.nan),
        _set("kinds", 0, "inside", "intercept", 10**400),
        _set("kinds", 0, "inside", "coefficients", [1.0]),
        _set("kinds", 0, "inside", "coefficients", "no_such_feature", 1.0),
        _set("kinds", 0, "inside", "coefficients", "pixels", None),
        _set("kinds", 0, "inside", "coefficients", "pixels", math.inf),
        _set("kinds", 0, "ranges", {}),
        _set("kinds", 0, "ranges", "no_such_size", [1, 2]),
        _set("kinds", 0, "ranges", "pixels", [2, 1]),
        _set("kinds", 0, "ranges", "pixels", [1]),
        _set("kinds", 0, "ranges", "pixels", "all"),
        _remove("kinds", 0, "ranges", "pixels"),
        _set("kinds", 0, "rows", {}),
        _set("kinds", 0, "rows", [[8, 64, 64, 1024, 2048, 1, 1]]),
        _set("kinds", 0, "rows", [[8, 64, 64, 1024, 2048, 1, 1, 0.0]]),
        _set("kinds", 0, "rows", [[8, 64, 64, 1024, 2048, 1, 0, 1.0]]),
        _set("kinds", 0, "rows", [[8, 64, 64, 1024, 2048, 1, 1, 1.0]] * 2),
        _set("kinds", 0, "cross_validation", {}),
        _set("kinds", 0, "cross_validation", "median", -0.1),
        _set("kinds", 0, "cross_validation", "folds", "five"),
    ],
)
def test_a_document_that_is_none_is_refused(
    model: DeviceModel, change: Callable[[Any], None], one_line: Callable[[BaseException], str]
) -> None:
    document = copy.deepcopy(model.to_json())
    document["kinds"].sort(key=lambda kind: kind["inside"] is None)
    change(document)
    with pytest.raises(ImportFormatError) as caught:
        DeviceModel.from_json(document)
    assert "device model" in one_line(caught.value)


def test_a_kind_that_is_there_twice_is_refused(model: DeviceModel) -> None:
    document = model.to_json()
    document["kinds"].append(document["kinds"][0])
    with pytest.raises(ImportFormatError, match="twice"):
        DeviceModel.from_json(document)


@pytest.mark.parametrize("document", [None, [], "model", 7, {}])
def test_anything_else_is_refused(document: object) -> None:
    with pytest.raises(ImportFormatError):
        DeviceModel.from_json(document)


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x04.", b"[" * 100_000, b'{"format": "latency-db/device-model"}'])
def test_a_file_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    with pytest.raises(InputError, match="cannot read"):
        load(path)
    path.write_bytes(content)
    with pytest.raises(ImportFormatError, match=r"some\.json"):
        load(path)


# The model that comes with the package


def test_shipped_models_are_found_by_device() -> None:
    assert "1080ti" in shipped_devices()
    assert shipped("toaster") is None and shipped("../models/1080ti") is None
    found = shipped("1080ti")
    assert found is not None and found.device == "1080ti"
    assert shipped("1080ti") == found


def test_the_shipped_1080_ti_is_small_and_covers_its_space() -> None:
    path = Path(device_model.__file__).parent / "models" / "1080ti.json"
    assert path.stat().st_size < 20_000
    found = shipped("1080ti")
    assert found is not None
    for spec in SPACE.specs(IMAGE):
        assert 0 < found.latency_ms(spec) < 3
    for spec in SPACE.specs(ImageSize(512, 1024)):
        assert (
            0
            < found.latency_ms(spec, extrapolate=True)
            <= 1.5
            * found.latency_ms(OpSpec(spec.op, spec.s, spec.c_in, spec.c_out, spec.stride, IMAGE, 1, spec.branches))
        )


def test_networks_of_the_shipped_1080_ti_are_those_of_the_table(shared_dir: Path) -> None:
    fasterseg = pytest.importorskip("latency_db.importers.fasterseg")
    path = shared_dir / "data" / "fasterseg" / "latency_lookup_table.npy"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    table = {spec: row.latency_ms for row in fasterseg.read(path) for spec in row.reading.specs}
    found = shipped("1080ti")
    assert found is not None
    rng = random.Random(0)
    networks = [SPACE.decompose(SPACE.sample(rng), IMAGE).specs for _ in range(1000)]
    actual = np.array([sum(table[spec] for spec in specs) for specs in networks])
    predicted = np.array([sum(found.latency_ms(spec) for spec in specs) for specs in networks])
    assert np.mean(np.abs(predicted / actual - 1)) <= 0.02
    assert np.corrcoef(predicted, actual)[0, 1] >= 0.998
