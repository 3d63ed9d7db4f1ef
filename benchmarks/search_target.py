"""Does `--target-ms` hit? Searches for several targets spread over what a space can reach, on several devices.

The reachable range is that between the fastest and the slowest of many random networks. Each search is short and small;
what counts is whether the derived student's predicted latency is within 5% of what was asked for, and how it got there.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from _common import publish

from latency_db.store import Store
from searcher.assembly import load_latencies, make_space
from searcher.config import SearchConfig, build_config
from searcher.history import read_epochs, read_result
from searcher.run import run_search
from searcher.run_folder import RunFolder
from trainer.runs.processes import Processes

SHARES = (0.2, 0.5, 0.8)
NETWORKS = 400
CLASSES = 10


def configuration(device: str, image_size: str, layers: int, epochs: int) -> SearchConfig:
    """A short search on drawn streets."""
    return build_config(
        {
            "latency": {"device": device, "image_size": image_size, "predict_missing": True},
            "space": {"layers": layers},
            "data": {"size": [64, 128], "crop": [64, 128], "count": 24, "workers": 0},
            "schedule": {
                "pretrain_epochs": 1,
                "search_epochs": epochs,
                "batch_size": 2,
                "architecture_learning_rate": 0.1,
                "calibration_batches": 1,
                "validate_every": epochs,
            },
        }
    )


def reachable(config: SearchConfig, store: Store) -> tuple[float, float]:
    """The fastest and the slowest of many random networks in ms."""
    space = make_space(config.space, CLASSES)
    table = load_latencies(config.latency, space, store).table
    rng = random.Random(0)
    found = [
        table.predict(space.decompose(space.sample(rng), table.image, table.batch)).latency_ms for _ in range(NETWORKS)
    ]
    return min(found), max(found)


def aim(config: SearchConfig, target_ms: float, store: Store, folder: Path) -> dict[str, Any]:
    """One search for one target."""
    latency = config.latency.model_copy(update={"target_ms": target_ms})
    run = RunFolder(folder)
    run_search(config.model_copy(update={"latency": latency}), run, store, Processes(), resume=True)
    result, epochs = read_result(run.result), read_epochs(run.epochs)
    student = result.student
    return {
        "target_ms": target_ms,
        "latency_ms": student.latency_ms,
        "error": student.latency_ms / target_ms - 1,
        "how": student.how,
        "argmax_error": student.argmax_latency_ms / target_ms - 1,
        "derived_ms": [list((one.derived_latency_ms or {}).values()) for one in epochs if one.phase == "search"],
        "seconds": result.seconds,
    }


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", required=True, help="database with this machine's table")
    parser.add_argument("--device", default="this-machine", help="slug of this machine in it")
    parser.add_argument("--image-size", default="256x512", help="of this machine's table")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="search-target-"))
    devices = {}
    try:
        for device, image_size, db in (
            ("1080ti", "1024x2048", "sqlite://"),
            (options.device, options.image_size, options.db),
        ):
            with Store.open(db) as store:
                config = configuration(device, image_size, options.layers, options.epochs)
                low_ms, high_ms = reachable(config, store)
                aims = [
                    aim(config, low_ms + share * (high_ms - low_ms), store, folder / f"{device}-{share}")
                    for share in SHARES
                ]
                devices[device] = {"image_size": image_size, "reachable_ms": [low_ms, high_ms], "aims": aims}
    finally:
        shutil.rmtree(folder)
    worst = max(abs(one["error"]) for device in devices.values() for one in device["aims"])
    publish({"layers": options.layers, "devices": devices, "worst_error": worst}, options.output)


if __name__ == "__main__":
    main()
