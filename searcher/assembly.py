"""A search put together from its configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from latency_db.errors import InputError
from latency_db.relaxed import RelaxedLatency, balanced_weights
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.config import PAPER_WEIGHTS, LatencyConfig, SearchConfig
from searcher.constraint import FixedFactor, LatencyTerm, SteeredMultiplier
from searcher.cosearch import CoSearch
from searcher.parameters import ArchitectureParameters
from searcher.result import Weights, WeightsRule
from searcher.search_data import SearchData, open_search_data
from searcher.space import FasterSegSpace
from searcher.supernet import Supernet
from trainer.architecture import Architecture
from trainer.losses import OhemCrossEntropy
from trainer.runs.processes import Processes
from trainer.runs.torch_device import PRECISIONS, open_device


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """What latency a search goes by.

    Attributes:
        table: of the device.
        relaxed: the same, of undecided architectures.
        weights: (w1, w2, w3) of Eq. 3; None: not decoupled.
        rule: where they come from.
    """

    table: LatencyTable
    relaxed: RelaxedLatency
    weights: Weights | None
    rule: WeightsRule

    def predicted_ms(self, architecture: Architecture) -> float:
        """What the table says of a network."""
        table = self.table
        return table.predict(table.space.decompose(architecture, table.image, table.batch)).latency_ms

    @property
    def digest(self) -> str:
        """Of all that the latency depends on: a search goes on only with the same."""
        table = self.table
        terms = [tuple(term) for term in table.calibration.to_terms()]
        text = repr((table.specs, table.latencies_ms.tolist(), table.reference_ms, terms, self.weights))
        return hashlib.sha256(text.encode()).hexdigest()


def make_space(settings: Mapping[str, Any], num_classes: int) -> FasterSegSpace:
    """The space with the data's classes.

    Raises:
        InputError: an unknown setting, or one that makes no space.
    """
    try:
        return FasterSegSpace(**settings, num_classes=num_classes)
    except (TypeError, ValueError) as error:
        raise InputError(f"space: {error}") from None


def load_latencies(config: LatencyConfig, space: FasterSegSpace, store: Store) -> Latencies:
    """The device's table and how it counts.

    Raises:
        LatencyDbError: as :meth:`LatencyTable.load`, or the weights cannot be balanced.
    """
    table = LatencyTable.load(
        device=config.device,
        backend=config.backend,
        space=space,
        image=config.image,
        batch=config.batch,
        store=store,
        predict_missing=config.predict_missing,
        extrapolate=config.extrapolate,
    )
    weights, rule = _weights(config, table)
    return Latencies(table=table, relaxed=RelaxedLatency(table), weights=weights, rule=rule)


def _weights(config: LatencyConfig, table: LatencyTable) -> tuple[Weights | None, WeightsRule]:
    if config.weights == "none":
        return None, "none"
    if config.weights == "paper":
        return PAPER_WEIGHTS, "paper"
    if config.weights == "balanced":
        return balanced_weights(table), "balanced"
    return config.weights, "given"


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Everything that a search runs with.

    Attributes:
        config: what it was put together from.
        space: with the data's classes.
        latencies: of the device.
        data: batches.
        search: the steps.
        device: where it computes.
        processes: with whom.
    """

    config: SearchConfig
    space: FasterSegSpace
    latencies: Latencies
    data: SearchData
    search: CoSearch
    device: torch.device
    processes: Processes


def assemble(config: SearchConfig, store: Store, processes: Processes) -> Assembly:
    """Put a search together: first what can be wrong from outside, then what takes long.

    Raises:
        LatencyDbError: no such device, settings that make no space, data that is not what it should be.
    """
    device = open_device(config.run.torch_device)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    data = open_search_data(config.data, config.schedule, config.run.seed, processes, pin_memory=device.type == "cuda")
    space = make_space(config.space, data.dataset.num_classes)
    latencies = load_latencies(config.latency, space, store)
    search = make_search(config, space, latencies, processes, device)
    return Assembly(
        config=config,
        space=space,
        latencies=latencies,
        data=data,
        search=search,
        device=device,
        processes=processes,
    )


def make_search(
    config: SearchConfig,
    space: FasterSegSpace,
    latencies: Latencies,
    processes: Processes,
    device: torch.device | str = "cpu",
) -> CoSearch:
    """The supernet and the two sets of logits, freshly drawn, with their losses."""
    schedule, run = config.schedule, config.run
    with torch.random.fork_rng(devices=[]):
        # The supernet's first weights come out of torch's global source: from the seed, whoever used it before.
        torch.manual_seed(run.seed)
        supernet = Supernet(space, checkpointing=run.checkpointing, channels_last=run.channels_last)
    parameters = ArchitectureParameters(space.lattice, torch.Generator().manual_seed(run.seed))
    return CoSearch(
        supernet.to(device),
        parameters.to(device),
        latencies.relaxed,
        OhemCrossEntropy(schedule.hard_threshold, schedule.hard_share),
        _latency_term(config.latency),
        weights=latencies.weights,
        temperature=schedule.temperature,
        clip=schedule.clip,
        precision=PRECISIONS[run.precision],
        processes=processes,
    )


def _latency_term(config: LatencyConfig) -> LatencyTerm:
    return FixedFactor(config.factor) if config.target_ms is None else SteeredMultiplier(config.target_ms)
