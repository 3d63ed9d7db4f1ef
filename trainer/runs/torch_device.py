"""Where a run computes."""

from __future__ import annotations

import os

import torch

from latency_db.errors import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of the forward pass, by the name that settings have for it."""


def open_device(name: str) -> torch.device:
    """A device by torch's name for it, or ``auto``: CUDA where there is one, else the CPU.

    Raises:
        InputError: it cannot be used here.
    """
    if name == "auto":
        # Each process of a machine has a GPU of its own.
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"run.torch_device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
