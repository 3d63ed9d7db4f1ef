"""How long one step of the search takes, of the weights and of the architecture, and how much memory.

By default at the full size of the space: L = 16, all scales and widths, batch 2, crop 128x256; each of the two steps
runs teacher, student, widest and narrowest, with the losses of all three branch sets. What is timed is what
`searcher run` does with a batch; making batches is left out. The share is that of the rate at which this very process
multiplies two large matrices; multiply-adds are counted by running a step once under torch's counter.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from _common import provenance, publish
from torch.utils.flop_counter import FlopCounterMode

from latency_db.keys import ImageSize
from latency_db.store import Store
from searcher.assembly import load_latencies, make_search, make_space
from searcher.config import SearchConfig, build_config
from searcher.cosearch import SEARCH_PASSES, CoSearch, Step
from searcher.optimizers import architecture_optimizer, weights_optimizer
from trainer.data import Batch
from trainer.runs.processes import Processes

SIDE, PRODUCTS = 2048, 10


def configuration(options: argparse.Namespace) -> SearchConfig:
    """The default space, with the model that is shipped for the GTX 1080 Ti as latency."""
    return build_config(
        {
            "latency": {"device": "1080ti"},
            "space": {"layers": options.layers},
            "run": {
                "precision": options.precision,
                "channels_last": options.channels_last,
                "checkpointing": options.checkpointing,
                "torch_device": options.torch_device,
            },
        }
    )


def product_rate(device: str) -> float:
    """Multiply-adds per second of a product of two large matrices, the best of some."""
    one, other = torch.randn(SIDE, SIDE, device=device), torch.randn(SIDE, SIDE, device=device)
    best = float("inf")
    for _ in range(PRODUCTS):
        begun = time.perf_counter()
        product = one @ other
        _wait(device)
        best = min(best, time.perf_counter() - begun)
        del product
    return SIDE**3 / best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Stepper:
    """Both steps on one batch."""

    def __init__(self, search: CoSearch, config: SearchConfig, batch: Batch, device: str) -> None:
        self.search, self.batch, self.device = search, batch, device
        self.weights = weights_optimizer(search.supernet, config.schedule)
        self.architecture = architecture_optimizer(search.parameters, config.schedule)

    def __call__(self, number: int) -> tuple[float, float]:
        """(seconds of the weights' step, seconds of the architecture's)."""
        step = Step(0, number)
        begun = time.perf_counter()
        self.search.weight_step(self.batch, self.weights, "search", step)
        _wait(self.device)
        between = time.perf_counter()
        self.search.architecture_step(self.batch, self.architecture, step)
        _wait(self.device)
        return between - begun, time.perf_counter() - between


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crop", default="128x256")
    parser.add_argument("--steps", type=int, default=5, help="timed, after one that is not")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print the whole JSON, with machine and versions")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    logging.getLogger("latency_db").setLevel(logging.ERROR)
    config, crop, device = configuration(options), ImageSize.parse(options.crop), options.torch_device
    space = make_space(config.space, 19)
    with Store.open("sqlite://") as store:
        latencies = load_latencies(config.latency, space, store)
    search = make_search(config, space, latencies, Processes(), device)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randn(options.batch, 3, crop.height, crop.width, generator=generator).to(device),
        torch.randint(0, 19, (options.batch, crop.height, crop.width), generator=generator).to(device),
    )
    stepper = Stepper(search, config, batch, device)
    stepper(0)
    times = [stepper(number) for number in range(1, options.steps + 1)]
    # Before counting and multiplying matrices, which need memory of their own.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with FlopCounterMode(display=False) as counter:
        stepper(options.steps + 1)
    macs, rate = counter.get_total_flops() / 2, product_rate(device)
    seconds = statistics.median(weights + architecture for weights, architecture in times)
    document: dict[str, Any] = {
        "seconds_per_step": seconds,
        "weights_seconds": statistics.median(weights for weights, _ in times),
        "architecture_seconds": statistics.median(architecture for _, architecture in times),
        "peak_rss_gb": peak / 1e9,
        "parameters_m": sum(parameter.numel() for parameter in search.supernet.parameters()) / 1e6,
        "passes": list(SEARCH_PASSES),
        "layers": options.layers,
        "batch": options.batch,
        "crop": [crop.height, crop.width],
        "precision": options.precision,
        "threads": torch.get_num_threads(),
        "gmacs_per_step": macs / 1e9,
        "matrix_product_gmacs_per_second": rate / 1e9,
        "matrix_product_share": macs / seconds / rate,
        "torch_device": device,
        "steps": [list(pair) for pair in times],
    }
    if options.json:
        publish(document, options.output)
        return
    for name in ("seconds_per_step", "peak_rss_gb", "parameters_m", "passes", "batch", "crop", "matrix_product_share"):
        value = document[name]
        sys.stdout.write(f"{name}: {value:.3f}\n" if isinstance(value, float) else f"{name}: {value}\n")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**document, **provenance()}, indent=2, ensure_ascii=False, allow_nan=False)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
