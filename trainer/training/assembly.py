"""A training put together from its configuration."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from backends.errors import CompileError
from latency_db.errors import InputError
from trainer.architecture import ArchitectureError
from trainer.data import Augment, Loader, SegmentationDataset, Size, loader, open_dataset
from trainer.data.crop import check_crop
from trainer.evaluate import with_image_size
from trainer.inference import run_network
from trainer.networks import NetworkSpec, find_network
from trainer.runs.processes import Processes
from trainer.runs.torch_device import PRECISIONS, open_device
from trainer.trained import Trained, load_trained
from trainer.training.ablations import fix_chi, keep_branches
from trainer.training.config import NetworkConfig, TrainConfig
from trainer.training.objective import Objective
from trainer.zoo.protocol import AuxiliaryNetwork


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Everything that a training runs with.

    Attributes:
        config: what it was put together from.
        spec: the network.
        network: with auxiliary heads where they are asked for.
        averaged: its exponential moving average; None without.
        optimizer: of the network's parameters.
        objective: what is made small.
        training: augmented batches.
        validation: batches to judge on, as they are.
        device: where it computes.
        processes: with whom.
    """

    config: TrainConfig
    spec: NetworkSpec
    network: nn.Module
    averaged: AveragedModel | None
    optimizer: torch.optim.SGD
    objective: Objective
    training: Loader
    validation: Loader
    device: torch.device
    processes: Processes

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the data."""
        return self.training.dataset.classes

    @property
    def judged(self) -> nn.Module:
        """The network that is judged and kept: the average, where there is one."""
        return self.network if self.averaged is None else self.averaged.module


def resolve(config: NetworkConfig) -> NetworkSpec:
    """The network that the settings mean, with what they take from it.

    Raises:
        InputError: there is no such network, or it is no architecture and something is to be taken from it.
    """
    spec = find_network(config.name)
    if config.branches is None and config.chi is None:
        return spec
    if spec.architecture is None:
        raise InputError(f"{spec.name} is no architecture of the space: it has no branches and no expansion ratios")
    architecture = spec.architecture
    if config.branches is not None:
        architecture = keep_branches(architecture, config.branches)
    if config.chi is not None:
        try:
            architecture = fix_chi(architecture, config.chi)
        except ArchitectureError as error:
            raise InputError(f"--chi {config.chi}: {error}") from None
    # Under its own name nobody would take it for the whole one.
    taken = [f"b{'-'.join(map(str, config.branches))}"] if config.branches is not None else []
    taken += [f"chi{config.chi}"] if config.chi is not None else []
    return replace(spec, name="-".join([spec.name, *taken]), architecture=architecture)


def open_data(config: TrainConfig, processes: Processes, *, pin_memory: bool) -> tuple[Loader, Loader]:
    """(training, validation) batches.

    Raises:
        DataError: the data set is not what it should be; the message says where.
    """
    data, schedule = config.data, config.schedule
    check_crop(data.crop, schedule.batch_size)
    shard = (processes.rank, processes.count)
    training = open_dataset(
        data.dataset,
        data.folder,
        data.split,
        Augment(crop=Size(*data.crop), scale=data.scale),
        size=data.size,
        count=data.count,
    )
    # As `trainer eval` judges: images as the network takes them, labels at their own resolution.
    validation = with_image_size(
        open_dataset(data.dataset, data.folder, data.validation_split, count=data.validation_count), data.size
    )
    if training.classes != validation.classes:
        raise InputError(f"{data.dataset}: the splits {data.split} and {data.validation_split} have other classes")
    return (
        loader(
            training,
            schedule.batch_size,
            seed=config.run.seed,
            workers=data.workers,
            pin_memory=pin_memory,
            shard=shard,
        ),
        # One by one: labels may be of many sizes.
        loader(validation, 1, training=False, workers=0, shard=shard),
    )


def assemble(config: TrainConfig, processes: Processes) -> Assembly:
    """Put a training together: first what can be wrong from outside, then what takes long.

    Raises:
        LatencyDbError: no such network, a teacher that cannot teach it, data that is not what it should be.
    """
    device = open_device(config.run.torch_device)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    spec = resolve(config.network)
    training, validation = open_data(config, processes, pin_memory=device.type == "cuda")
    teacher = _teacher(config, training.dataset, device)
    network = make_network(config, spec, training.dataset.num_classes).to(device)
    if config.run.channels_last:
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    schedule = config.schedule
    averaged = None
    if schedule.ema:
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema), use_buffers=True)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=True,
    )
    if config.run.compile:
        network.compile()
    return Assembly(
        config=config,
        spec=spec,
        network=network,
        averaged=averaged,
        optimizer=optimizer,
        objective=Objective(
            network,
            config.loss,
            None if teacher is None else teacher.module,
            PRECISIONS[config.run.precision],
        ),
        training=training,
        validation=validation,
        device=device,
        processes=processes,
    )


def make_network(config: TrainConfig, spec: NetworkSpec, num_classes: int) -> nn.Module:
    """The network, freshly drawn from the seed; tried on a batch of nothing.

    Raises:
        InputError: it cannot be built, has no auxiliary heads where they are asked for, or gives no such logits.
    """
    auxiliary = config.loss.auxiliary > 0
    with torch.random.fork_rng(devices=[]):
        # The first weights come out of torch's global source: from the seed, whoever used it before.
        torch.manual_seed(config.run.seed)
        try:
            network = spec.build(num_classes, auxiliary=auxiliary)
        except ValueError as error:
            raise InputError(f"{spec.name}: {error}") from None
    if auxiliary and not isinstance(network, AuxiliaryNetwork):
        raise InputError(f"{spec.name} has no auxiliary heads: leave loss.auxiliary at 0")
    _try(network, spec, num_classes, config)
    return network


def _try(network: nn.Module, spec: NetworkSpec, num_classes: int, config: TrainConfig) -> None:
    """One step's forward pass, on a copy: what norms remember of it must not stay."""
    batch = torch.zeros(config.schedule.batch_size, 3, *config.data.crop)
    try:
        with torch.random.fork_rng(devices=[]):
            run_network(copy.deepcopy(network).train(), batch, num_classes)
    except CompileError as error:
        height, width = config.data.crop
        # Norms refuse a single value of a channel by a ValueError; whatever else fails, fails in the network itself.
        small = isinstance(error.__cause__, ValueError)
        raise InputError(
            f"{spec.name} cannot be trained on {config.schedule.batch_size} crops of {height}x{width}: {error.message}",
            hint="take a larger batch or crop" if small else None,
        ) from error
    except InputError as error:
        raise InputError(f"{spec.name}: {error.message}") from None


def _teacher(config: TrainConfig, dataset: SegmentationDataset, device: torch.device) -> Trained | None:
    if config.teacher.model is None:
        return None
    spec = None if config.teacher.network is None else find_network(config.teacher.network)
    teacher = load_trained(Path(config.teacher.model), device, network=spec, own=(config.network.name,))
    if teacher.classes != dataset.classes:
        raise InputError(
            f"the teacher {config.teacher.model} knows {_listed(teacher.classes)}, the data has "
            f"{_listed(dataset.classes)}: it cannot teach them"
        )
    teacher.module.requires_grad_(False)
    return teacher


def _listed(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:4])}{', …' if len(classes) > 4 else ''})"
