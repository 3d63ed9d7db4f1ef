"""Gradients and buffers of two processes become one mean; alone, nothing is touched."""

from __future__ import annotations

import multiprocessing
import socket
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from trainer.runs.processes import Processes, processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(rank: int, port: int, results: Any) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    group = Processes(rank, 2)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    module[0].weight.grad = torch.full((2, 3), float(rank + 1))
    module[1].running_mean.fill_(10.0 * rank)
    group.average_gradients(module.parameters())
    group.average_buffers(module)
    results.put((rank, module[0].weight.grad.tolist(), module[1].running_mean.tolist(), group.mean(rank)))
    dist.destroy_process_group()


def test_two_processes_get_the_mean() -> None:
    context = multiprocessing.get_context("spawn")
    results, port = context.Queue(), free_port()
    workers = [context.Process(target=work, args=(rank, port, results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
    for _, gradient, running_mean, mean in found:
        assert gradient == [[1.5] * 3] * 2
        assert running_mean == [5.0, 5.0]
        assert mean == 0.5


def test_alone_there_is_nothing_to_average() -> None:
    with processes() as group:
        assert group == Processes(0, 1)
        assert group.first
        module = nn.Linear(2, 2)
        module.weight.grad = torch.ones(2, 2)
        group.average_gradients(module.parameters())
        assert torch.equal(module.weight.grad, torch.ones(2, 2))
        assert group.mean(3.0) == 3.0
