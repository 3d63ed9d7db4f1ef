"""The tables of docs/search.md, each from one benchmark's JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def step(document: dict[str, Any], table: Table) -> str:
    """Time and memory of a step."""
    rows = [
        ("a step of both, median", f"{document['seconds_per_step']:.2f} s"),
        ("peak memory of the process", f"{document['peak_rss_gb']:.2f} GB"),
        ("parameters", f"{document['parameters_m']:.0f} M"),
        ("share of this machine's matrix-product rate", f"{document['matrix_product_share']:.0%}"),
    ]
    height, width = document["crop"]
    return (
        f"{table(('', ''), rows)}\n\nPasses {', '.join(document['passes'])}; batch {document['batch']}, crop "
        f"{height}x{width}, {document['precision']}."
    )


def collapse(document: dict[str, Any], table: Table) -> str:
    """Three ways to weigh the latency."""
    labels = {
        "undecoupled": "(a) plain latency",
        "paper": "(b) the paper's weights",
        "balanced": "(c) balanced by this table",
    }
    rows = []
    for setting, label in labels.items():
        runs = [run for run in document["runs"] if run["setting"] == setting]
        of = document["settings"][setting]
        rows.append(
            (
                label,
                f"{of['student_derived_ms']['mean']:.2f} ± {of['student_derived_ms']['sd']:.2f} ms",
                f"{of['supernet_miou']['mean']:.1%} ± {of['supernet_miou']['sd']:.1%}",
                f"{of['derived_miou']['mean']:.1%} ± {of['derived_miou']['sd']:.1%}",
                _mean(run["skip_share"]["student"] for run in runs),
                _mean(run["narrowest_share"] for run in runs),
            )
        )
    headers = (
        "latency term",
        "derived student",
        "mIoU, supernet",
        "mIoU, derived, untrained",
        "skips (mean α)",
        "narrowest (mean γ)",
    )
    seeds = len(document["runs"]) // len(labels)
    options = document["options"]
    return (
        f"{table(headers, rows)}\n\nMean ± standard deviation over {seeds} seeds; CamVid, validation images; λ = "
        f"{options['factor']:g} per ms of {options['device']} at {options['image_size']}; "
        f"{options['pretrain_epochs']} + {options['search_epochs']} epochs."
    )


def targets(document: dict[str, Any], table: Table) -> str:
    """Whether the target was hit."""
    rows = []
    for device, one in document["devices"].items():
        for aim in one["aims"]:
            rows.append(
                (
                    f"{device} at {one['image_size']}",
                    f"{aim['target_ms']:.3f} ms",
                    f"{aim['latency_ms']:.3f} ms ({aim['error']:+.1%})",
                    "most likely choices" if aim["how"] == "argmax" else f"band ({aim['argmax_error']:+.1%} without)",
                )
            )
    low_high = "; ".join(
        f"{device}: {one['reachable_ms'][0]:.2f} to {one['reachable_ms'][1]:.2f} ms"
        for device, one in document["devices"].items()
    )
    return (
        f"{table(('latency of', 'target', 'derived student', 'derived by'), rows)}\n\nRandom networks of this space "
        f"({document['layers']} layers) take {low_high}."
    )


def _mean(values: Any) -> str:
    found = list(values)
    return f"{sum(found) / len(found):.0%}"
