"""The report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

from latency_db.correlate import Agreement, Verdict
from latency_db.report.data import ReportData
from latency_db.report.figure import render_scatter
from latency_db.report.rendering import environment, factor, percent, signed

TEMPLATE = "page.html.j2"
WORST = 5
SMALL_PAIRS = 5e-4
"""Below this share of a prediction, what the pairs add is not worth a line."""


class _Row(NamedTuple):
    label: str
    value: str
    note: str = ""
    state: str = ""


def write_html(path: Path, data: ReportData) -> None:
    """Write the report.

    Raises:
        LatencyDbError: matplotlib, which draws its picture, is not installed.
        OSError: the file cannot be written.
    """
    path.write_text(render_html(data), encoding="utf-8")


def render_html(data: ReportData) -> str:
    """The report as a page of HTML, its picture inlined. Every text in it is escaped.

    Raises:
        LatencyDbError: matplotlib is not installed.
    """
    picture = render_scatter(
        [network.predicted_ms for network in data.networks],
        [network.measured_ms for network in data.networks],
        data.agreement,
        data.noise_ceiling,
        data.title,
    )
    return (
        environment("latency_db.report")
        .get_template(TEMPLATE)
        .render(
            data=data,
            picture=base64.b64encode(picture).decode("ascii"),
            headline=_headline(data),
            figures=_figures(data.agreement),
            limits=_limits(data),
            worst=data.worst(WORST),
            small_pairs=SMALL_PAIRS,
            pairs=sorted(data.calibration.pair_terms.items(), key=lambda item: -abs(item[1])),
        )
    )


def _headline(data: ReportData) -> list[_Row]:
    """The figures that are judged, each beside its bound."""
    figures, verdict = data.agreement, data.verdict
    return [
        _Row("Pearson r", factor(figures.pearson), _bound("at least", verdict.min_pearson), _pearson_state(data)),
        _Row("Noise ceiling of r", factor(data.noise_ceiling), "the r of a perfect model"),
        _Row("MAPE", percent(figures.mape), _bound("at most", verdict.max_mape, percent=True), _mape_state(data)),
        _Row("Bias", signed(figures.bias), "mean of predicted/measured − 1"),
        _Row("Networks", str(figures.networks), f"{len(data.dropped)} dropped"),
        _Row(
            "Visits left out", str(data.left_out), "throttled or contended", "missed" if data.flagged_networks else ""
        ),
    ]


def _bound(words: str, bound: float | None, *, percent: bool = False) -> str:
    if bound is None:
        return "no bound"
    return f"bound: {words} {bound:.2%}" if percent else f"bound: {words} {bound:g}"


def _pearson_state(data: ReportData) -> str:
    bound = data.verdict.min_pearson
    if bound is None:
        return ""
    if not data.noise_ceiling > bound:
        return "inconclusive"
    return "passed" if data.agreement.pearson >= bound else "missed"


def _mape_state(data: ReportData) -> str:
    verdict: Verdict = data.verdict
    if verdict.max_mape is None:
        return ""
    return "passed" if data.agreement.mape <= verdict.max_mape else "missed"


def _figures(figures: Agreement) -> list[_Row]:
    return [
        _Row("Spearman ρ", factor(figures.spearman), "rank correlation"),
        _Row("Within ±5%", percent(figures.within_5, 1), "share of networks"),
        _Row("Within ±10%", percent(figures.within_10, 1), "share of networks"),
        _Row("Largest error", percent(figures.max_error), "|predicted/measured − 1|"),
        _Row("Slope", factor(figures.slope), "of measured = slope · predicted + intercept"),
        _Row("Intercept", f"{figures.intercept:+.4g} ms".replace("-", "−"), "of the same least-squares line"),
        _Row("Spread", percent(figures.spread, 1), "measured standard deviation over mean; r depends on it"),
    ]


def _limits(data: ReportData) -> list[_Row]:
    return [
        _Row("Reliability, measured", factor(data.reliability_measured), "split halves, full length"),
        _Row("Reliability, predicted", factor(data.reliability_predicted), "split halves, full length"),
    ]
