"""The tables of backends side by side, each from one benchmark's JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
PAPER = "the paper: TensorRT on a GTX 1080 Ti"
TITLES = {
    "conv": "conv.",
    "conv_group2": "conv., group 2",
    "conv_dilation2": "conv., dilation 2",
    "zoomed_conv": "zoomed conv.",
}


def machine(document: dict[str, Any], script: str) -> str:
    """Where the figures come from: the GPU with its driver where they are a GPU's, else the CPU."""
    found = document["machine"]
    container = f", {found['virtualization']}" if "virtualization" in found else ""
    where = _gpu(document) or f"{found['cpu_model']}, {found['cpu_count']} cores"
    return f"\n\n*`benchmarks/{script}`, {document['date'][:10]}, {where}{container}.*"


def _gpu(document: dict[str, Any]) -> str | None:
    """What `gpu_check.py` says that a document was made on; what other documents were made on is the CPU."""
    if "made" not in document:
        return None
    on = document["made"]["on"]
    return f"{on['gpu']}, driver {on['driver'] or 'unknown'}"


def every_backend(document: dict[str, Any], table: Table) -> str:
    """Table 1 and the student on whatever was there, and what was not."""
    printed, sizes = document["paper"], document["image_sizes"]
    rows = [_paper(printed, sizes)]
    absent: dict[str, list[str]] = {}
    for way in document["ways"]:
        if "not_here" in way:
            absent.setdefault(way["not_here"], []).append(way["way"])
        else:
            rows.append(_measured(way))
    headers = ("runs", *(TITLES[one["op"]] for one in printed["operators"]), *(f"FPS at {size}" for size in sizes))
    text = table(headers, rows)
    text += (
        "\n\nConvolutions of 256 channels at 1x256x32x64, in ms, and what each is to the plain one beside it; the "
        f"student's frames per second. 95% intervals. The backends took turns, {document['passes']} passes in "
        f"{document['took_s'] / 60:.0f} minutes; on the CPU {_threads(document['threads'])}."
    )
    reasons = [
        f"- {way['way']}, {_what(one)}: {one['not_measured']}"
        for way in document["ways"]
        for one in (*way.get("operators", ()), *way.get("networks", ()))
        if "not_measured" in one
    ]
    reasons += [f"- {way['way']} fell out: {way['fell_out']}" for way in document["ways"] if "fell_out" in way]
    if reasons:
        text += "\n\nNot measured:\n\n" + "\n".join(reasons)
    if absent:
        text += "\n\nNot here, in their own words:\n\n" + "\n".join(
            f"- {'; '.join(names)}: {reason}" for reason, names in absent.items()
        )
    return text + machine(document, "every_backend.py")


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _what(one: dict[str, Any]) -> str:
    return str(one["op"]) if "op" in one else f"{one['network']} at {one['image_size']}"


def _paper(printed: dict[str, Any], sizes: Sequence[str]) -> tuple[str, ...]:
    cells = [
        f"{one['latency_ms']:g}" + (f" ({one['to_conv']:+.0%})" if one["to_conv"] else "")
        for one in printed["operators"]
    ]
    speeds = [f"{printed['fps']:g}" if size == printed["image_size"] else "–" for size in sizes]
    return (PAPER, *cells, *speeds)


def _measured(way: dict[str, Any]) -> tuple[str, ...]:
    target = way["target"]
    name = f"{way['way']} {target['runtime_version']}, {target['precision']}"
    return (name, *map(_operator, way["operators"]), *map(_network, way["networks"]))


def _operator(one: dict[str, Any]) -> str:
    if one["latency_ms"] is None:
        return "–"
    text = f"{one['latency_ms']:.3g}" + _interval(one["rel_ci"])
    if "to_conv" in one:
        text += f" ({one['to_conv']:+.0%}"
        text += f" ± {one['to_conv_ci'] * 100:.0f})" if one["to_conv_ci"] is not None else ")"
    return text


def _network(one: dict[str, Any]) -> str:
    return "–" if one["fps"] is None else f"{one['fps']:.3g}" + _interval(one["rel_ci"])


def _interval(rel_ci: float | None) -> str:
    return "" if rel_ci is None else f" ± {rel_ci:.1%}"


def two_targets(document: dict[str, Any], table: Table) -> str:
    """Two targets, each validated; and one held against the other, operator by operator."""
    rows = [
        (
            _target(one),
            str(run["seed"]),
            f"{run['pearson']:.4f}",
            "–" if run["noise_ceiling"] is None else f"{run['noise_ceiling']:.4f}",
            f"{run['spearman']:.4f}",
            f"{run['mape']:.2%}",
            f"{run['bias']:+.2%}",
            f"{run['within_5']:.0%}",
            f"{run['spread']:.2f}",
            f"{run['networks']} / {run['dropped']}",
            run["took"],
        )
        for one in document["targets"]
        for run in one["validations"]
    ]
    headers = (
        "target",
        "seed",
        "r",
        "ceiling",
        "Spearman",
        "MAPE",
        "bias",
        "within 5%",
        "spread",
        "judged / dropped",
        "took",
    )
    parts = [table(headers, rows)] if rows else []
    parts += [f"{_name(one)} failed: {one['failed']}" for one in document["targets"] if "failed" in one]
    profiled = [
        f"{_name(one)}: {one['profile']['measured']} of {one['profile']['specs']} operators in "
        f"{one['profile']['elapsed_s']:.0f} s"
        for one in document["targets"]
        if "profile" in one
    ]
    settings = f", {', '.join(document['space_settings'])}" if document["space_settings"] else ""
    parts.append(f"At {document['image_size']}{settings}. " + "; ".join(profiled) + ".")
    if "verdict" in document:
        parts.append(_verdict(document["verdict"]))
    if "comparison" in document:
        parts.append(_compared(document, table))
    if "comparison_failed" in document:
        parts.append(f"Not compared: {document['comparison_failed']}")
    return "\n\n".join(parts) + machine(document, "two_targets.py")


def _verdict(verdict: dict[str, Any]) -> str:
    bounds = f"r of at least {verdict['min_pearson']:g}, MAPE of at most {verdict['max_mape']:.0%}"
    if verdict["lacks"] is not None:
        return f"Not judged by the bounds ({bounds}): {verdict['lacks']}."
    return f"Bounds missed ({bounds}): {verdict['missed']}." if verdict["missed"] else f"Within the bounds: {bounds}."


def _name(one: dict[str, Any]) -> str:
    return " ".join([f"`{one['backend']}`", *(f"`{setting}`" for setting in one["settings"])])


def _target(one: dict[str, Any]) -> str:
    target = one["target"]
    return f"{_name(one)}, {target['runtime']} {target['runtime_version']}, {target['precision']}"


def _compared(document: dict[str, Any], table: Table) -> str:
    a, b = (one["backend"] for one in document["targets"] if "target" in one)
    found = document["comparison"]
    rows = [
        (f"`{one['op']}`", str(one["operators"]), f"{one['ratio']:.3f}", f"{one['against_all']:.2f}×")
        for one in found["ops"]
    ]
    text = (
        f"`{b}` over `{a}`, the geometric mean of {found['operators']} operators: {found['ratio']:.3f}. "
        f"Of the logarithms of their latencies, Pearson {found['pearson_log']:.4f}, Spearman "
        f"{found['spearman_log']:.4f}."
        if found["pearson_log"] is not None
        else f"`{b}` over `{a}`, the geometric mean of {found['operators']} operators: {found['ratio']:.3f}."
    )
    return f"{text}\n\n{table(('operator', 'of them', f'`{b}` / `{a}`', 'against all'), rows)}"


def pictures(document: dict[str, Any], docs: Path, prefix: str = "") -> str:
    """The validations' pictures, those that are there."""
    found = [
        (one["backend"], name)
        for one in document["targets"]
        if (docs / (name := f"images/{prefix}validation-{one['backend']}.png")).exists()
    ]
    return "".join(f"\n\n![Predicted and measured, {backend}]({name})" for backend, name in found)


def gpu_check(document: dict[str, Any], table: Table) -> str:
    """How each entry went, in its own words."""
    rows = [
        (f"`{name}`", one["how"].replace("|", "\\|"), one["date"][:10]) for name, one in document["entries"].items()
    ]
    commit = (document["made"]["on"]["commit"] or "unknown")[:12]
    versions = ", ".join(f"{name} {found}" for name, found in document["made"]["on"]["versions"].items())
    text = table(("entry", document["made"]["on"]["gpu"], "on"), rows)
    return f"{text}\n\nAll of it at commit {commit}; {versions}.{machine(document, 'gpu_check.py')}"
