"""Table 1 of the paper and the frames per second of FasterSeg's student, on every backend that is here.

The backends take turns, pass after pass, so that all of them stand in the same minutes. Latencies of different machines
say little about each other; the ratios to the plain convolution are what can be held against the paper's. A backend
that is not here is listed with the reason, and has no figures.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

from _common import publish
from _turns import CompilesOnce, Stand, take_turns
from _ways import CPU, GPU, Way, ways

from backends import registry
from backends.errors import BackendError
from backends.measure import Job, Plan
from backends.protocol import Target
from backends.samples import Estimate
from latency_db import spaces, table1
from latency_db.keys import ImageSize, OpSpec
from latency_db.whole_networks import network_plan
from latency_db.workloads import operator_workload
from trainer.compare import STUDENT, paper_row
from trainer.subject import Subject, find_subject

Images = list[ImageSize]


def operator_jobs() -> list[Job]:
    """The four convolutions."""
    space = spaces.create("fasterseg")
    return [Job(key=spec, workload=operator_workload(space, spec)) for spec in table1.specs()]


def network_jobs(subject: Subject, images: Images) -> list[Job]:
    """The student at each size."""
    return [Job(key=image, workload=subject.whole(image).workload()) for image in images]


def stand(way: Way, images: Images, rel_ci: float, threads: int) -> tuple[Stand, Target]:
    """A way to run them, with everything compiled.

    Raises:
        BackendError: it is not here, or cannot run the reference workload.
    """
    schema = registry.get(way.backend).settings_schema
    threaded = {"threads": threads} if way.on == CPU and "threads" in schema else {}
    backend = registry.create(way.backend, **threaded, **way.settings)
    target = backend.target()
    found = Stand(
        backend=CompilesOnce(backend),
        groups=[
            (Plan(rel_ci=rel_ci), operator_jobs()),
            (network_plan(rel_ci, 1.0), network_jobs(find_subject(STUDENT), images)),
        ],
    )
    found.compile()
    return found, target


def figures(found: Stand, target: Target) -> dict[str, Any]:
    """What is known of one way."""
    (_, operators), (_, networks) = found.groups
    by_op = {job.key.op: found.latency(job) for job in operators if isinstance(job.key, OpSpec)}
    plain = by_op[table1.OPS[0]]
    return {
        "target": {
            "device": target.device,
            "device_name": target.device_name,
            "runtime": target.runtime,
            "runtime_version": target.runtime_version,
            "precision": target.precision,
            "settings": dict(target.settings),
        },
        "clock": found.backend.clock.name,
        "reference_ms": found.reference_ms if math.isfinite(found.reference_ms) else None,
        "compile_s": round(found.compile_s, 1),
        "operators": [
            {
                "op": job.key.op,
                **latency_json(by_op[job.key.op], found.failed.get(job.key)),
                **to_plain(by_op[job.key.op], plain),
            }
            for job in operators
        ],
        "networks": [
            {
                "network": STUDENT,
                "image_size": str(job.key),
                "fps": None if (latency := found.latency(job)) is None else 1e3 / latency.value,
                **latency_json(latency, found.failed.get(job.key)),
            }
            for job in networks
        ],
    }


def latency_json(latency: Estimate | None, reason: str | None) -> dict[str, Any]:
    """In ms, with its 95% interval; or why there is none."""
    if latency is None:
        return {"latency_ms": None, "rel_ci": None, "visits": 0, "not_measured": reason or "time was up"}
    rel_ci = latency.rel_ci if math.isfinite(latency.rel_ci) else None
    return {"latency_ms": latency.value, "rel_ci": rel_ci, "visits": latency.visits}


def to_plain(latency: Estimate | None, plain: Estimate | None) -> dict[str, Any]:
    """Over the plain convolution, less 1, and the half-width of that ratio's 95% interval."""
    if latency is None or plain is None or latency is plain:
        return {}
    ratio, rel_ci = latency.value / plain.value, math.hypot(latency.rel_ci, plain.rel_ci)
    return {"to_conv": ratio - 1, "to_conv_ci": ratio * rel_ci if math.isfinite(rel_ci) else None}


def paper(images: Images) -> dict[str, Any]:
    """What is printed."""
    row = paper_row(find_subject(STUDENT), images[-1])
    plain = table1.PAPER_MS[table1.OPS[0]]
    return {
        "operators": [{"op": op, "latency_ms": ms, "to_conv": ms / plain - 1} for op, ms in table1.PAPER_MS.items()],
        "fps": None if row is None else row.fps,
        "image_size": None if row is None else "x".join(map(str, row.resolution)),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=(CPU, GPU), help="only what runs on it")
    parser.add_argument("--backend", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    parser.add_argument("--image-size", type=ImageSize.parse, action="append", help="repeatable [default: 1024x2048]")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--rel-ci", type=float, default=0.005, help="interval at which one is known well enough")
    parser.add_argument("--minutes", type=float, default=4.0, help="for measuring; compiling takes a few more")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    images = options.image_size or [ImageSize(1024, 2048)]
    started = time.monotonic()
    stands: dict[str, Stand] = {}
    rows: dict[str, dict[str, Any]] = {}
    targets: dict[str, Target] = {}
    for way in ways(options.on, options.backend):
        rows[way.name] = {"way": way.name, "backend": way.backend, "on": way.on, "settings": dict(way.settings)}
        try:
            stands[way.name], targets[way.name] = stand(way, images, options.rel_ci, options.threads)
        except BackendError as error:
            rows[way.name]["not_here"] = str(error)
        print(f"{way.name}: {rows[way.name].get('not_here', 'compiled')}", file=sys.stderr, flush=True)
    out = take_turns(stands, options.passes, 60 * options.minutes)
    for name, found in stands.items():
        rows[name] |= figures(found, targets[name]) | ({"fell_out": out[name]} if name in out else {})
        found.backend.close()
    publish(
        {
            "benchmark": "backends",
            "image_sizes": [str(image) for image in images],
            "threads": options.threads,
            "passes": options.passes,
            "took_s": round(time.monotonic() - started, 1),
            "ways": list(rows.values()),
            "paper": paper(images),
        },
        options.output,
    )
    return 0 if stands else 1


if __name__ == "__main__":
    sys.exit(main())
