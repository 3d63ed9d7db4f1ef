"""The smallest searches that have everything, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from latency_db.store import Store
from searcher.assembly import Assembly, assemble
from searcher.config import SearchConfig, build_config
from trainer.runs.processes import Processes

TINY: dict[str, dict[str, Any]] = {
    "latency": {"device": "1080ti", "image_size": "512x1024"},
    "space": {"layers": 4, "chis": [2, 3, 4], "head_chi": 2, "stem_widths": [4, 8, 16]},
    "data": {"size": [64, 128], "crop": [64, 96], "count": 13, "workers": 0},
    "schedule": {
        "pretrain_epochs": 1,
        "search_epochs": 2,
        "batch_size": 2,
        "architecture_learning_rate": 0.05,
        "calibration_batches": 1,
    },
    "run": {"seed": 3, "threads": 1, "torch_device": "cpu"},
}


def tiny(**changes: Mapping[str, Any]) -> SearchConfig:
    """A configuration of a few seconds; ``changes`` are further tables that win."""
    return build_config(TINY, changes)


def tiny_assembly(processes: Processes | None = None, **changes: Mapping[str, Any]) -> Assembly:
    """Put together with the model that is shipped for the device: the database stays empty."""
    with Store.open("sqlite://") as store:
        return assemble(tiny(**changes), store, processes or Processes())


def values(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether they are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
