"""The report: its JSON's keys, its picture, and a page that stands alone and escapes what it shows."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from latency_db.calibration import Calibration, PairKey
from latency_db.correlate import agreement, judge
from latency_db.errors import LatencyDbError
from latency_db.report import NetworkResult, OperatorShare, ReportData, report_json

PROMISED = {
    "pearson",
    "spearman",
    "mape",
    "within_5",
    "within_10",
    "bias",
    "slope",
    "intercept",
    "max_error",
    "spread",
    "networks",
    "dropped",
    "noise_ceiling",
    "target",
}
ADDED = {"verdict", "reliability_measured", "reliability_predicted", "calibration", "results", "protocol"} | {
    "flags",
    "left_out",
    "flagged",
}


def network(name: str, predicted_ms: float, measured_ms: float) -> NetworkResult:
    ops = ("stem s1 3→64 /2 @256x512", "conv_x2 s8 64→128 /2 @256x512", "zoomed_conv s16 128→96 @256x512", "skip")
    parts = (0.4, 0.3, 0.2, 0.08)
    breakdown = tuple(
        OperatorShare(name=op, latency_ms=part * predicted_ms, rel_ci=ci, count=1 + index)
        for index, (op, part, ci) in enumerate(zip(ops, parts, (0.004, 0.011, 0.02, math.inf), strict=True))
    )
    return NetworkResult(
        name=name, predicted_ms=predicted_ms, measured_ms=measured_ms, measured_rel_ci=0.008, breakdown=breakdown
    )


def report(min_pearson: float | None = 0.993, max_mape: float | None = 0.015, count: int = 60) -> ReportData:
    rng = np.random.default_rng(3)
    measured = 32 + 4.5 * rng.standard_normal(count)
    predicted = measured * (1.003 + 0.009 * rng.standard_normal(count))
    networks = tuple(
        network(f"network-{index:02}", float(p), float(m))
        for index, (p, m) in enumerate(zip(predicted, measured, strict=True))
    )
    figures = agreement(predicted.tolist(), measured.tolist())
    return ReportData(
        title="FasterSeg operators on ONNX Runtime, 256×512",
        created_at="2026-01-31T12:00:00+00:00",
        target={"device": "cpu-epyc-7b13", "backend": "ort", "runtime": "1.32.0", "threads": "1", "precision": "fp32"},
        agreement=figures,
        reliability_measured=0.9989,
        reliability_predicted=0.9993,
        noise_ceiling=0.9991,
        verdict=judge(figures, 0.9991, min_pearson, max_mape),
        networks=networks,
        calibration=Calibration(
            method="pair",
            cv_error=0.0103,
            networks=30,
            global_scale=0.912,
            op_scales={"conv_x2": 1.021, "zoomed_conv": 0.964},
            pair_terms={PairKey("conv_x2", 2, "zoomed_conv", 1, 16): -0.0123},
        ),
        dropped=(("network-61", "its session could not be created: out of memory"),),
        protocol={"rounds": "12", "samples a visit": "5", "flagged visits": "3 of 1404", "stopped by": "noise ceiling"},
    )


class Page(HTMLParser):
    """Collects what a page would load and whether its tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for key, value in attrs if key in {"src", "href", "srcset", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(data: ReportData) -> str:
    pytest.importorskip("matplotlib")
    from latency_db.report.page import render_html

    return render_html(data)


def test_json_has_the_promised_keys_and_no_others() -> None:
    document = report_json(report())
    assert set(document) == PROMISED | ADDED
    assert document["networks"] == 60
    assert document["dropped"] == 1
    assert document["target"]["device"] == "cpu-epyc-7b13"
    assert document["verdict"]["outcome"] == "passed"
    assert document["verdict"]["exit_code"] == 0
    assert len(document["results"]) == 60
    assert document["results"][0]["breakdown"][0]["name"].startswith("stem")
    assert document["calibration"]["terms"][0] == {"term": "global", "value": 0.912}


def test_what_does_not_count_is_counted() -> None:
    first, *others = report().networks
    data = replace(
        report(),
        networks=(replace(first, flagged=True, predicted_ms=2 * first.predicted_ms), *others),
        flags={"contended": 7, "noisy": 2},
        left_out=5,
        flagged_operators=3,
    )
    document = report_json(data)
    assert document["flags"] == {"contended": 7, "noisy": 2} and document["left_out"] == 5
    assert document["flagged"] == {"networks": 1, "operators": 3}
    assert [one["flagged"] for one in document["results"]].count(True) == 1
    page = page_of(data)
    assert "Visits left out" in page and page.count("too few clean visits") == 1
    assert "too few clean visits" not in page_of(report())


def test_json_never_says_nan() -> None:
    data = replace(report(), noise_ceiling=math.nan, calibration=Calibration.identity())
    document = report_json(data)
    json.loads(json.dumps(document, allow_nan=False))
    assert document["noise_ceiling"] is None
    assert document["calibration"]["cv_error"] is None
    assert document["results"][0]["breakdown"][3]["rel_ci"] is None


def test_the_worst_come_first() -> None:
    data = report()
    worst = data.worst(5)
    assert len(worst) == 5
    assert abs(worst[0].error) == pytest.approx(data.agreement.max_error)
    assert worst[0].pairs_ms == pytest.approx(0.02 * worst[0].predicted_ms)


def test_picture_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from latency_db.report.figure import scatter_png

    data, path = report(), tmp_path / "report.png"
    scatter_png(
        [x.predicted_ms for x in data.networks],
        [x.measured_ms for x in data.networks],
        data.agreement,
        data.noise_ceiling,
        r"a title with $ and _ and \alpha",
        path,
    )
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(content[16:20], "big") == int.from_bytes(content[20:24], "big") > 800


def test_page_stands_alone() -> None:
    text = page_of(report())
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert len(page.loads) == 1
    assert not re.search(r"url\(|@import", text)


def test_page_shows_everything() -> None:
    data = report()
    text = page_of(data)
    worst = data.worst(1)[0]
    for shown in (
        "every bound is met",
        f"{data.agreement.pearson:.4f}",
        "bound: at least 0.993",
        "bound: at most 1.50%",
        "0.9991",
        worst.name,
        "conv_x2 s8 64→128 /2 @256x512",
        "terms of adjacent pairs",
        "× 0.9120",
        "conv_x2 → zoomed_conv",
        "−0.0123",
        "network-61",
        "out of memory",
        "3 of 1404",
        "cpu-epyc-7b13",
        "2026-01-31",
    ):
        assert shown in text, shown


def test_page_says_why_a_bound_was_missed_or_could_not_be_judged() -> None:
    missed = page_of(report(max_mape=0.001))
    assert "is above the bound of 0.001" in missed
    assert 'class="verdict missed"' in missed
    inconclusive = page_of(report(min_pearson=0.9995))
    assert "measure longer" in inconclusive
    assert 'class="verdict inconclusive"' in inconclusive
    assert "no bounds were asked for" in page_of(report(None, None))


def test_page_of_the_least_there_can_be() -> None:
    data = report(None, None, count=3)
    bare = replace(
        data,
        calibration=Calibration.identity(),
        dropped=(),
        protocol={},
        target={},
        networks=tuple(replace(x, breakdown=()) for x in data.networks),
        noise_ceiling=math.nan,
    )
    text = page_of(bare)
    assert Page(text).open == []
    assert "plain sum of its operators" in text
    assert "every network that was sampled" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text)


def test_page_escapes_what_it_is_given() -> None:
    evil = "<script>alert('x')</script>\"&"
    data = replace(
        report(),
        title=evil,
        created_at=evil,
        target={evil: evil},
        protocol={evil: evil},
        dropped=((evil, evil),),
        networks=(replace(network(evil, 30.0, 20.0), breakdown=(OperatorShare(name=evil, latency_ms=1, rel_ci=0.1),)),),
        verdict=replace(report().verdict, reasons=(evil,)),
        calibration=Calibration(
            method=evil,
            cv_error=0.1,
            networks=9,
            op_scales={evil: 1.0},
            pair_terms={PairKey(evil, 1, evil, 1, 8): 0.1},
        ),
    )
    text = page_of(data)
    assert "<script" not in text
    assert "script" not in Page(text).tags
    assert text.count("&lt;script&gt;") >= 12


def test_page_is_written_as_utf8(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from latency_db.report.page import write_html

    path = tmp_path / "report.html"
    write_html(path, report())
    assert "256×512" in path.read_text(encoding="utf-8")


def test_without_matplotlib_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from latency_db.report.page import render_html

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(LatencyDbError, match=r"needs matplotlib \(pip install"):
        render_html(report())


def test_matplotlib_is_loaded_only_when_a_picture_is_drawn() -> None:
    check = "import sys, latency_db.report.page; assert not {'matplotlib', 'torch', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
