"""Two targets side by side: figures that can be worked out by hand, and what the command makes of stored latencies."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.protocol import Target
from backends.samples import Visit
from latency_db.compare_targets import compare
from latency_db.errors import NotFoundError
from latency_db.keys import ImageSize, OpSpec
from latency_db.rows import LatencyRow
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.latency_db.program import document, invoke, the_line

IMAGE = ImageSize(64, 128)
SPACE = FasterSegSpace(layers=3, chis=(4,))
SPECS = sorted(SPACE.specs(IMAGE))
REFERENCE_MS = 2.0


def spec(op: str = "conv", c_in: int = 8, image: ImageSize = IMAGE) -> OpSpec:
    return OpSpec(op=op, s=8, c_in=c_in, c_out=16, stride=1, image=image)


def row(of: OpSpec, latency_ms: float, rel_ci: float | None = 0.03, provenance: str = "measured") -> LatencyRow:
    return LatencyRow(
        device="d",
        backend="b",
        runtime_version="1",
        precision="fp32",
        settings={},
        spec=of,
        latency_ms=latency_ms,
        rel_ci=rel_ci,
        visits=1 if rel_ci is None else 6,
        provenance=provenance,
    )


# The figures


def test_the_overall_ratio_is_the_geometric_mean() -> None:
    a = [row(spec(c_in=8), 1.0), row(spec(c_in=16), 1.0), row(spec(c_in=24), 1.0)]
    b = [row(spec(c_in=8), 0.5), row(spec(c_in=16), 2.0), row(spec(c_in=24), 8.0)]
    found = compare(a, b)
    assert found.ratio == pytest.approx(2.0)
    assert compare(b, a).ratio == pytest.approx(0.5)


def test_operators_that_one_has_alone_are_told_and_left_out() -> None:
    shared, mine, theirs = spec(c_in=8), spec(c_in=16), spec(c_in=24)
    found = compare([row(shared, 1.0), row(mine, 100.0)], [row(shared, 3.0), row(theirs, 0.01)])
    assert (found.only_a, found.only_b) == ((mine,), (theirs,))
    assert [pair.spec for pair in found.pairs] == [shared]
    assert found.ratio == pytest.approx(3.0)


def test_correlations_are_of_logarithms() -> None:
    specs = [spec(c_in=8 * n) for n in range(1, 6)]
    a = [row(one, 10.0**n) for n, one in enumerate(specs)]
    b = [row(one, 3 * 100.0**n) for n, one in enumerate(specs)]
    found = compare(a, b).log_correlations
    assert found is not None
    assert (found.pearson, found.spearman) == (pytest.approx(1), pytest.approx(1))
    swapped = compare(a, [*b[:3], row(specs[3], b[4].latency_ms), row(specs[4], b[3].latency_ms)]).log_correlations
    assert swapped is not None
    assert swapped.spearman == pytest.approx(0.9)
    assert 0.8 < swapped.pearson < 0.95


@pytest.mark.parametrize("latencies", [(1.0, 2.0), (1.0, 1.0, 1.0, 1.0)])
def test_where_there_is_no_correlation(latencies: tuple[float, ...]) -> None:
    specs = [spec(c_in=8 * n) for n in range(1, len(latencies) + 1)]
    rows = [row(one, latency) for one, latency in zip(specs, latencies, strict=True)]
    assert compare(rows, rows).log_correlations is None


def test_kinds_have_ratios_of_their_own() -> None:
    a = [row(spec("conv", 8), 1.0), row(spec("conv", 16), 1.0), row(spec("zoomed_conv"), 1.0)]
    b = [row(spec("conv", 8), 1.0), row(spec("conv", 16), 4.0), row(spec("zoomed_conv"), 0.25)]
    found = compare(a, b)
    assert found.ratio == pytest.approx(1.0)
    assert [(kind.op, kind.operators) for kind in found.kinds] == [("zoomed_conv", 1), ("conv", 2)]
    assert [kind.ratio for kind in found.kinds] == pytest.approx([0.25, 2.0])


def test_kinds_are_set_against_all() -> None:
    a = [row(spec("conv"), 1.0), row(spec("zoomed_conv"), 1.0)]
    found = compare(a, [row(spec("conv"), 8.0), row(spec("zoomed_conv"), 2.0)])
    assert found.ratio == pytest.approx(4.0)
    assert {kind.op: kind.against_all for kind in found.kinds} == pytest.approx({"conv": 2.0, "zoomed_conv": 0.5})


def test_the_farthest_are_those_in_either_direction() -> None:
    ratios = {8: 2.0, 16: 1.9, 24: 0.2, 32: 25.0, 40: 2.1}
    a = [row(spec(c_in=c_in), 1.0) for c_in in ratios]
    found = compare(a, [row(spec(c_in=c_in), ratio) for c_in, ratio in ratios.items()])
    assert [pair.spec.c_in for pair in found.farthest(2)] == [32, 24]
    assert len(found.farthest(99)) == 5
    assert found.farthest(0) == ()


def test_the_interval_of_a_ratio_is_wider_than_either_latencys() -> None:
    (pair,) = compare([row(spec(), 2.0, rel_ci=0.03)], [row(spec(), 1.0, rel_ci=0.04)]).pairs
    assert pair.interval == pytest.approx((0.5 * math.exp(-0.05), 0.5 * math.exp(0.05)))


@pytest.mark.parametrize("unknown", [None, math.inf])
def test_an_interval_that_is_not_known_is_none(unknown: float | None) -> None:
    (pair,) = compare([row(spec(), 2.0, rel_ci=unknown)], [row(spec(), 1.0)]).pairs
    assert pair.interval is None


def test_nothing_in_common_says_what_each_has() -> None:
    with pytest.raises(NotFoundError, match=r"1 at 64x128 against 1 at 128x256.*latency-db profile"):
        compare([row(spec(), 1.0)], [row(spec(image=ImageSize(128, 256)), 1.0)])
    with pytest.raises(NotFoundError, match="against none at all"):
        compare([row(spec(), 1.0)], [])


# The command


def target(device: str, backend: str = "ort", **changes: Any) -> Target:
    values: dict[str, Any] = {
        "device": device,
        "device_name": device,
        "backend": backend,
        "runtime": backend,
        "runtime_version": "1.0",
        "precision": "fp32",
        "fingerprint": "f",
    }
    return Target(**(values | changes))


def measure(store: Store, of: Target, latency_ms: Callable[[OpSpec], float], specs: list[OpSpec] = SPECS) -> Target:
    """Store six visits of each operator, one percent apart."""
    ids = store.ensure_specs(specs)
    run = store.start_run(store.ensure_target(of), "profile", series=1, plan={}, environment={})
    visits = [
        (
            id_,
            Visit(
                round=number,
                elapsed_ms=(latency_ms(one) * factor,),
                reference_ms=(REFERENCE_MS, REFERENCE_MS),
                repeats=1,
                warmup=1,
            ),
        )
        for one, id_ in ids.items()
        for number, factor in enumerate((0.99, 1.0, 1.01, 1.005, 0.995, 1.0))
    ]
    store.add_visits(run, visits)
    store.finish_run(run, "completed", None, REFERENCE_MS)
    return of


def work(of: OpSpec) -> float:
    return 0.1 + of.c_in * of.c_out / of.s / 1000


def but_classify(of: OpSpec) -> float:
    """Twice as fast, the last operator of a network three times as slow."""
    return work(of) * (3.0 if of.op == "classify" else 0.5)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    with Store.open(str(path)) as store:
        measure(store, target("desk"), work)
        measure(store, target("desk", "openvino"), but_classify, SPECS[:-1])
        measure(store, target("board"), lambda of: 10 * work(of))
    return path


def test_two_devices(database: Path) -> None:
    found = document(database, "compare-targets", "board", "desk:ort")
    assert (found["a"]["device"], found["b"]["device"]) == ("board", "desk")
    assert found["operators"] == len(SPECS) and found["ratio"] == pytest.approx(0.1)
    assert found["pearson_log"] == pytest.approx(1) and found["spearman_log"] == pytest.approx(1)
    assert found["a"]["provenance"] == {"measured": len(SPECS)}


def test_two_backends_of_one_device(database: Path) -> None:
    found = document(database, "compare-targets", "desk:ort", "desk:openvino", "--top", "1")
    assert (found["a"]["backend"], found["b"]["backend"]) == ("ort", "openvino")
    assert (found["operators"], found["a"]["only"], found["b"]["only"]) == (len(SPECS) - 1, 1, 0)
    kinds = {kind["op"]: kind["ratio"] for kind in found["ops"]}
    assert kinds["conv"] == pytest.approx(0.5) and kinds["classify"] == pytest.approx(3)
    (farthest,) = found["farthest"]
    assert farthest["op"] == "classify" and farthest["ratio"] == pytest.approx(3)
    assert farthest["b_ms"] == pytest.approx(3 * farthest["a_ms"])
    low, high = farthest["ratio_95"]
    assert low < 3 < high < 3.2
    assert farthest["against_all"] == pytest.approx(3 / found["ratio"])


def test_a_key_names_a_target(database: Path) -> None:
    with Store.open(str(database)) as store:
        keys = {row.target.backend: row.target.key for row in store.targets("desk")}
    found = document(database, "compare-targets", keys["ort"][:8], keys["openvino"])
    assert (found["a"]["key"], found["b"]["key"]) == (keys["ort"], keys["openvino"])


def test_a_device_with_a_colon_in_its_name(database: Path) -> None:
    with Store.open(str(database)) as store:
        measure(store, target("rack:ort"), work)
    assert document(database, "compare-targets", "rack:ort", "board")["ratio"] == pytest.approx(10)
    assert document(database, "compare-targets", "rack:ort:ort", "board")["ratio"] == pytest.approx(10)


def test_only_a_size_and_only_a_space(database: Path) -> None:
    larger = ImageSize(128, 256)
    with Store.open(str(database)) as store:
        foreign = [spec("deconv"), *SPACE.specs(larger)]
        measure(store, target("desk"), work, foreign)
        measure(store, target("board"), lambda of: 20 * work(of), foreign)
    both = ("compare-targets", "desk:ort", "board")
    small = ("--space", "fasterseg", "--space-setting", "layers=3", "--space-setting", "chis=[4]")
    sizes = len(list(SPACE.specs(larger)))
    assert document(database, *both)["operators"] == len(SPECS) + sizes + 1
    assert document(database, *both, *small)["operators"] == len(SPECS) + sizes
    found = document(database, *both, "--image-size", str(larger))
    assert (found["operators"], found["ratio"]) == (sizes, pytest.approx(20))
    assert document(database, *both, *small, "--image-size", str(IMAGE))["ratio"] == pytest.approx(10)


def test_people_get_text(database: Path) -> None:
    result = invoke(database, "compare-targets", "desk:ort", "desk:openvino", "--top", "3")
    assert result.exit_code == 0
    for words in ("1 on A alone", "Pearson", "Spearman", "geometric mean", "classify", "95% interval", "openvino"):
        assert words in result.stdout
    assert "measured" in result.stdout.splitlines()[0] and "of A's latencies" not in result.stdout


def test_latencies_that_nobody_measured_are_said_to_be_so(database: Path) -> None:
    with Store.open(str(database)) as store:
        target_id = store.ensure_target(target("model"))
        run = store.start_run(target_id, "import", series=1, plan={}, environment={})
        store.add_values(run, [(id_, work(of)) for of, id_ in store.ensure_specs(SPECS).items()], "imported")
        store.finish_run(run, "completed", None, None)
    arguments = ("compare-targets", "board", "model")
    assert document(database, *arguments)["b"]["provenance"] == {"imported": len(SPECS)}
    assert document(database, *arguments)["farthest"][0]["ratio_95"] is None
    assert f"of B's latencies: {len(SPECS)} imported" in invoke(database, *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("desk", "board"), "2 targets match"),
        (("desk", "board"), "DEVICE:BACKEND"),
        (("board", "toaster"), "no target of device 'toaster'"),
        (("board", "desk:tpu"), "backend 'tpu'"),
        (("board", "board:ort"), "the same target"),
        (("board", "desk:ort", "--image-size", "512x1024"), "no operator in common"),
        (("board", "desk:ort", "--image-size", "12x"), "HEIGHTxWIDTH"),
        (("board", "desk:ort", "--space", "darts"), "no space 'darts'"),
        (("board", "desk:ort", "--space-setting", "layers=3"), "--space-setting goes with --space"),
        (("board", "desk:ort", "--top", "-1"), "--top"),
        (("board",), "Missing argument"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistakes_are_one_line(database: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in the_line(invoke(database, "compare-targets", *arguments))
