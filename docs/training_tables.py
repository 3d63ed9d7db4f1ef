"""The tables of docs/results.md, each from one benchmark's JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.zoo import PUBLISHED, ZOO

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def camvid(document: dict[str, Any], table: Table) -> str:
    """Networks trained on CamVid by one short schedule."""
    rows = []
    for name, one in document["networks"].items():
        runs = [run for run in document["runs"] if run["what"] == name]
        spread = f" ± {one['miou']['sd']:.1%}" if len(runs) > 1 else ""
        rows.append(
            (
                name,
                f"{runs[0]['parameters_m']:.2f} M",
                f"{runs[0]['gmacs']:.2f}",
                f"{one['miou']['mean']:.1%}{spread}",
                str(len(runs)),
                f"{sum(run['minutes'] for run in runs) / len(runs):.0f}",
            )
        )
    options = document["options"]
    headers = ("network", "parameters", f"GMAC at {options['size']}", "mIoU (val)", "seeds", "minutes each")
    return (
        f"{table(headers, rows)}\n\nCamVid, 367 images to learn from, 101 to be judged on, at {options['size']}; crops "
        f"{options['crop']}, batch {options['batch_size']}, {options['epochs']} epochs from scratch, learning rate "
        f"{options['learning_rate']:g}, polynomial; moving average {options['ema']:g}. ± is the standard deviation "
        "over the seeds."
    )


def compare(document: dict[str, Any], table: Table) -> str:
    """Networks timed side by side."""
    rows = []
    for row in document["results"]:
        paper = row.get("paper")
        latency = "–" if row["latency_ms"] is None else f"{row['latency_ms']:.1f} ms"
        if row["rel_ci"] is not None:
            latency += f" ± {row['rel_ci']:.1%}"
        rows.append(
            (
                row["image_size"],
                row["network"],
                f"{row['parameters'] / 1e6:.2f} M",
                f"{row['macs'] / 1e9:.1f}",
                latency,
                "–" if row["fps"] is None else f"{row['fps']:.2f}",
                "–" if row["relative_fps"] is None else f"{row['relative_fps']:.2f}×",
                "–" if not paper else f"{paper['fps']:g} at {paper['resolution'][0]}x{paper['resolution'][1]}",
            )
        )
    headers = (
        "image",
        "network",
        "parameters",
        "GMAC",
        "latency",
        "FPS",
        "to the fastest human-designed",
        "FPS (paper)",
    )
    return table(headers, rows)


def predicted(document: dict[str, Any], table: Table) -> str:
    """Predictions beside measurements, network by network."""
    rows = [
        (
            one["name"],
            f"{one['predicted_ms']:.2f} ms",
            f"{one['measured_ms']:.2f} ms",
            f"{one['error']:+.1%}",
        )
        for one in document["networks"]
    ]
    return (
        f"{table(('network', 'predicted', 'measured', 'off by'), rows)}\n\n{document['within_bound']} of "
        f"{len(document['networks'])} are within {document['bound']:.0%}. At {document['image_size']}; each network is "
        "predicted as a sum over operators that were measured in the same shuffled rounds; numbered ones are random."
    )


DATASETS = {"cityscapes": "Cityscapes (Table 4)", "camvid": "CamVid (Table 5)", "bdd": "BDD (Table 6)"}


def zoo_sizes(table: Table) -> str:
    """What papers print about the size of the zoo's networks, and what differs."""
    rows = [
        (
            f"`{name}`",
            "–" if (figures := entry.published).parameters_m is None else f"{figures.parameters_m:g} M",
            "–" if figures.image is None else f"{figures.gmacs:g} at {figures.image[0]}x{figures.image[1]}",
            figures.source or "–",
            entry.note,
        )
        for name, entry in ZOO.items()
    ]
    return table(("network", "parameters, printed", "GMAC, printed", "source", "what differs"), rows)


def published(table: Table) -> str:
    """FasterSeg's Tables 4 to 6."""
    rows = [
        (
            DATASETS[result.dataset],
            one.title,
            f"{result.resolution[0]}x{result.resolution[1]}",
            f"{result.fps:g}",
            "–" if result.miou_val is None else f"{result.miou_val:g}%",
            "–" if result.miou_test is None else f"{result.miou_test:g}%",
        )
        for dataset in DATASETS
        for one in PUBLISHED.values()
        for result in one.results
        if result.dataset == dataset
    ]
    return table(("data", "network", "image", "FPS", "mIoU (val)", "mIoU (test)"), rows)
