"""Write the tables of the pages in docs/ from the JSON that the benchmarks wrote to docs/results/.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. With --check nothing is written, and the exit code is 1
where the page and the results differ.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import backend_tables
import search_tables
import training_tables

DOCS = Path(__file__).resolve().parent
PAGES = tuple(
    DOCS / name
    for name in (
        "measuring.md",
        "database.md",
        "relaxed-latency.md",
        "faithfulness.md",
        "search.md",
        "results.md",
        "zoo.md",
        "backends.md",
    )
)
RESULTS = DOCS / "results"


def load(name: str) -> dict[str, Any]:
    """One benchmark's JSON."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return document


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


GPU = "gpu/"
"""The folder of results of `make gpu-check`."""
RUNTIMES = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}


def source(
    document: dict[str, Any], script: str, runtime: str | None = "onnxruntime", threads: str = "one thread"
) -> str:
    """Where the figures come from; ``runtime`` None where no clock was involved."""
    machine, versions = document["machine"], document["versions"]
    text = f"\n\n*`benchmarks/{script}`, {document['date'][:10]}"
    if runtime is None:
        return f"{text}.*"
    container = f", {machine['virtualization']}" if "virtualization" in machine else ""
    return (
        f"{text}, {machine['cpu_model']}, {machine['cpu_count']} cores{container}, "
        f"{RUNTIMES[runtime]} {versions[runtime]}, {threads}.*"
    )


def percent(value: float, signed: bool = False) -> str:
    """Two digits."""
    return f"{value:+.2%}" if signed else f"{value:.2%}"


def accuracy(name: str = "accuracy") -> str:
    """Three validations."""
    document = load(name)
    rows = [
        (
            str(run["seed"]),
            f"{run['pearson']:.4f}",
            f"{run['noise_ceiling']:.4f}",
            percent(run["mape"]),
            percent(run["bias"], signed=True),
            percent(run["max_error"]),
            f"{run['spread']:.2f}",
            f"{run['networks']} / {run['dropped']}",
            run["calibration"],
            run["took"],
        )
        for run in document["runs"]
    ]
    headers = ("seed", "r", "ceiling", "MAPE", "bias", "worst", "spread", "judged / dropped", "calibration", "took")
    return table(headers, rows) + source(document, "accuracy.py")


def stored() -> str:
    """Validations from operators stored earlier."""
    return accuracy("accuracy_stored")


def ablation() -> str:
    """What each step is worth."""
    document = load("ablation")
    rows = [
        (
            name,
            ", ".join(f"{value:.4f}" for value in way["pearson"]),
            ", ".join(percent(value) for value in way["mape"]),
            ", ".join(percent(value, signed=True) for value in way["bias"]),
        )
        for name, way in document["ways"].items()
    ]
    of = ", ".join(document["backends"])
    return table(("how", f"r ({of})", "MAPE", "bias"), rows) + source(document, "ablation.py")


def repeatability() -> str:
    """Two profiles apart in time."""
    document = load("repeatability")
    rows = [
        (label, percent(one["median"]), percent(one["p95"]), percent(one["worst"]), percent(one["mean_signed"], True))
        for label, one in (
            ("ratios to the reference", document["paired"]),
            ("the same in ms, each by its own run's reference", document["paired_own_reference"]),
            ("bare medians in ms", document["plain"]),
        )
    ]
    text = table(("the same samples", "median difference", "95th percentile", "worst", "mean, signed"), rows)
    seconds = " and ".join(f"{value / 60:.1f}" for value in document["profile_seconds"])
    return (
        f"{text}\n\n{document['paired']['operators']} operators at {document['image_size']}, profiled in two processes "
        f"{document['apart_minutes']:.0f} minutes apart, {seconds} minutes each, exporting included; median 95% "
        f"interval ±{percent(document['median_rel_ci'])}." + source(document, "repeatability.py")
    )


def protocols() -> str:
    """The paper's protocol and this one."""
    document = load("protocols")
    rows = [
        (
            label,
            f"{document[key]['seconds_per_operator']:g} s",
            f"{document['whole_space_minutes'][key]:g} min",
            percent(document[key]["median"]),
            percent(document[key]["worst"]),
        )
        for key, label in (("in_turn", "six seconds of each in turn"), ("in_rounds", "shuffled rounds, paired"))
    ]
    headers = ("protocol", "per operator", "whole space", "second against first: median", "worst")
    return f"{table(headers, rows)}\n\n{len(document['operators'])} operators at {document['image_size']}." + source(
        document, "protocols.py"
    )


def spread() -> str:
    """Where the noise comes from."""
    document = load("spread")
    rows = [
        (
            f"{one['from_ms']:g} to {one['to_ms']:g} ms" if one["to_ms"] else f"over {one['from_ms']:g} ms",
            str(one["operators"]),
            *(percent(one[key]) for key in ("within", "between", "visits", "visits_bare")),
        )
        for one in document["classes"]
    ]
    headers = (
        "operator's latency",
        "operators",
        "within a visit",
        "between visits",
        "a visit's value",
        "the same, bare",
    )
    return table(headers, rows) + source(document, "spread.py")


def observers() -> str:
    """What is flagged, and what looking costs."""
    document = load("observers")
    rows = [
        (
            str(one["busy_processes"]),
            str(one["visits"]),
            *(percent(one["flagged"].get(flag, 0.0)) for flag in ("contended", "throttled", "disturbed", "noisy")),
            f"{one['observing_ms']:.2f} of {one['visit_ms']:.0f} ms",
        )
        for one in document["conditions"]
    ]
    headers = ("busy processes beside it", "visits", "contended", "throttled", "disturbed", "noisy", "looking takes")
    return table(headers, rows) + source(document, "observers.py")


def waiting() -> str:
    """What visits are worth, by what they waited."""
    document = load("observers")
    rows = [
        (
            f"{one['from']:.0%} to {one['to']:.0%}",
            str(one["visits"]),
            percent(one["median_error"]),
            percent(one["mean_error"]),
        )
        for one in document["bands"]
    ]
    return table(("in the run queue", "visits", "median error", "mean error"), rows) + source(document, "observers.py")


def million() -> str:
    """A large database."""
    document = load("million")
    rows = [
        ("a target's table (700 operators)", f"{document['table_load_ms']:.0f} ms"),
        ("one key", f"{document['one_key_ms']:.1f} ms"),
    ]
    return (
        f"{table(('read', 'median'), rows)}\n\n{document['measurements']:,} measurements of 100 targets, SQLite."
        + source(document, "million_measurements.py")
    )


def relaxed() -> str:
    """The relaxed latency's speed."""
    document = load("relaxed_latency")
    rows = [
        (what, f"{document[key]:.{digits}f} {unit}", f"{document['best'][key]:.{digits}f} {unit}")
        for what, key, digits, unit in (
            ("one architecture", "single_ms", 2, "ms"),
            (f"each of a batch of {document['batch']}", "batch_us_each", 1, "µs"),
            ("loading the table", "load_ms", 0, "ms"),
        )
    ]
    text = table(("", "median", "best"), rows)
    return f"{text}\n\nL = {document['layers']}, b = {document['branches']}, float32." + source(
        document, "relaxed_latency.py", runtime="torch"
    )


def students() -> str:
    """The student's latency, looked up in two ways."""
    document = load("faithfulness")
    rows = []
    for branches, one in document["students"].items():
        rows.append(
            (
                branches,
                f"{one['stored_by_them_ms']:.4f} ms",
                f"{one['as_looked_up_ms']:.4f} ms" + _error(one, "as_looked_up_error"),
                f"{one['as_meant_ms']:.4f} ms" + _error(one, "as_meant_error"),
                f"{one['measured_ms']:.2f} ms" if "measured_ms" in one else "",
            )
        )
    headers = ("branches", "stored by its authors", "sum, as looked up", "sum, as meant", "measured (paper)")
    return table(headers, rows) + source(document, "faithfulness.py", runtime=None)


def _error(one: dict[str, Any], key: str) -> str:
    return f" ({one[key]:+.1%})" if key in one else ""


def sensitivities() -> str:
    """The three deltas and the weights."""
    document = load("faithfulness")["sensitivity"]
    rows = [
        (
            axis,
            f"{document['paper'][delta]:.2f} ms",
            f"{document['exact'][delta]:.2f} ms",
            paper_weight,
            f"{document['exact'][weight]:.3f}",
        )
        for axis, delta, weight, paper_weight in (
            ("operators", "delta_operator_ms", "w1", "0.001"),
            ("downsampling", "delta_downsample_ms", "w2", "0.997"),
            ("widths", "delta_expansion_ms", "w3", "0.002"),
        )
    ]
    headers = ("axis", "Δ, paper", "Δ, exact", "weight, paper", "weight that balances")
    return table(headers, rows) + source(load("faithfulness"), "faithfulness.py", runtime=None)


def search_step() -> str:
    """A step of the search."""
    document = load("search_step")
    return search_tables.step(document, table) + source(
        document, "search_step.py", runtime="torch", threads="two threads"
    )


def collapse() -> str:
    """The experiment of Figure 4."""
    document = load("collapse")
    return search_tables.collapse(document, table) + source(document, "collapse.py", runtime=None)


def search_target() -> str:
    """Searches with a target."""
    document = load("search_target")
    return search_tables.targets(document, table) + source(document, "search_target.py", runtime=None)


def camvid() -> str:
    """Trainings on CamVid."""
    document = load("camvid")
    return training_tables.camvid(document, table) + source(document, "train_camvid.py", runtime="torch")


def compare() -> str:
    """Networks side by side on this machine."""
    document = load("compare")
    return training_tables.compare(document, table) + source(document, "compare_networks.py")


def predicted() -> str:
    """Predictions of single networks."""
    document = load("predicted_latency")
    return training_tables.predicted(document, table) + source(document, "predicted_latency.py")


def every_backend() -> str:
    """Table 1 and the student on every backend."""
    return backend_tables.every_backend(load("backends"), table)


def two_targets() -> str:
    """Two targets of one machine."""
    document = load("two_targets")
    return backend_tables.two_targets(document, table) + backend_tables.pictures(document, DOCS)


def gpu_check() -> str:
    """Which entries are complete on a GPU."""
    return backend_tables.gpu_check(load(f"{GPU}check"), table)


def gpu_backends() -> str:
    """Table 1 and the student on a GPU."""
    return backend_tables.every_backend(load(f"{GPU}backends"), table)


def gpu_targets() -> str:
    """Two targets of one GPU."""
    document = load(f"{GPU}two_targets")
    return backend_tables.two_targets(document, table) + backend_tables.pictures(document, DOCS, "gpu-")


def gpu_compare() -> str:
    """Networks side by side on a GPU."""
    document = load(f"{GPU}compare")
    return training_tables.compare(document, table) + backend_tables.machine(document, "compare_networks.py")


def zoo_sizes() -> str:
    """Sizes of the zoo."""
    return training_tables.zoo_sizes(table)


def published() -> str:
    """The paper's Tables 4 to 6."""
    return training_tables.published(table)


TABLES: dict[str, Callable[[], str]] = {
    "zoo_sizes": zoo_sizes,
    "published": published,
    "accuracy": accuracy,
    "stored": stored,
    "ablation": ablation,
    "repeatability": repeatability,
    "protocols": protocols,
    "spread": spread,
    "observers": observers,
    "waiting": waiting,
    "million": million,
    "relaxed": relaxed,
    "students": students,
    "sensitivity": sensitivities,
    "search_step": search_step,
    "collapse": collapse,
    "search_target": search_target,
    "camvid": camvid,
    "compare": compare,
    "predicted": predicted,
    "backends": every_backend,
    "two_targets": two_targets,
    "gpu_check": gpu_check,
    "gpu_compare": gpu_compare,
    "gpu_backends": gpu_backends,
    "gpu_targets": gpu_targets,
}


ON_CAMVID = ("collapse", "camvid")
"""What needs that data."""


def shown(name: str) -> str:
    """The table, or that there is none."""
    try:
        return TABLES[name]()
    except FileNotFoundError:
        if name.startswith("gpu_"):
            return "*Not measured yet: `make gpu-check` does, on a machine with an NVIDIA GPU.*"
        how = "make bench-camvid CAMVID=DIR" if name in ON_CAMVID else "make bench"
        return f"*Not measured yet: `{how}` does.*"


def render(text: str) -> str:
    """The page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n\n{shown(match[1])}\n\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if not options.check:
            page.write_text(after, encoding="utf-8")
        elif before != after:
            sys.exit(f"{page.name} does not show what docs/results/ says: run `make docs`")


if __name__ == "__main__":
    main()
