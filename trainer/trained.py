"""A trained network in one file: what it is, what its classes are, its weights. Read without executing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from latency_db.errors import InputError
from trainer.networks import NetworkSpec
from trainer.runs.checkpoint import load_checkpoint, save_checkpoint

KIND = "network"
MODEL = "model.pt"
"""The file's name in the folder of a training."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network with its weights.

    Attributes:
        spec: what network it is.
        classes: what its logits stand for.
        module: in eval mode, without auxiliary heads.
        dataset: what it was trained on, by name.
        size: (height, width) that images were brought to before they were cropped; None for their own.
    """

    spec: NetworkSpec
    classes: tuple[str, ...]
    module: nn.Module
    dataset: str
    size: tuple[int, int] | None


def save_trained(path: Path, trained: Trained) -> None:
    """Write it.

    Raises:
        RunFolderError: it cannot be written; what was there is untouched.
    """
    save_checkpoint(
        path,
        KIND,
        {
            "network": trained.spec.to_json(),
            "classes": list(trained.classes),
            "dataset": trained.dataset,
            "size": None if trained.size is None else list(trained.size),
            "weights": {
                name: value
                for name, value in trained.module.state_dict().items()
                # Only training uses them. What a module of the user's own calls so, it may need.
                if trained.spec.kind == "module" or not name.startswith("auxiliary_heads.")
            },
        },
    )


def load_trained(
    path: Path,
    device: torch.device | str = "cpu",
    *,
    network: NetworkSpec | None = None,
    own: Sequence[str] = (),
) -> Trained:
    """Read what :func:`save_trained` wrote.

    Args:
        path: the file, or the folder of a training that has ended.
        device: where to.
        network: what the file must be of.
        own: modules of the user's own, as ``package.module:factory``, that the file may be of, too. It must be named
            here or by ``network``: a file does not decide what is imported.

    Raises:
        RunFolderError: it cannot be read, is damaged or is no trained network.
        InputError: it is of another network, of one that this release does not know, or of a module that is not named.
    """
    if path.is_dir():
        path = path / MODEL
        if not path.exists():
            raise InputError(f"{path.parent} holds no trained network: its training has not ended (--resume goes on)")
    kept = load_checkpoint(path, KIND, device)
    try:
        spec = NetworkSpec.from_json(kept.get("network"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if network is not None and _identity(network) != _identity(spec):
        raise InputError(f"{path} is of the network {spec.name}, not of {network.name}")
    if spec.kind == "module" and network is None and spec.name not in own:
        raise InputError(f"{path} is of a module of your own: name it with --network {spec.name}")
    classes, size = kept.get("classes"), kept.get("size")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path} does not say what its classes are")
    if size is not None and (
        not isinstance(size, list) or len(size) != 2 or not all(isinstance(one, int) for one in size)
    ):
        raise InputError(f"{path} does not say what size its images have")
    module = spec.build(len(classes)).to(device)
    try:
        module.load_state_dict(kept["weights"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: its weights are not those of {spec.name}: {str(error).splitlines()[0]}") from None
    return Trained(
        spec=spec,
        classes=tuple(classes),
        module=module.eval(),
        dataset=str(kept.get("dataset")),
        size=None if size is None else (size[0], size[1]),
    )


def _identity(spec: NetworkSpec) -> object:
    """What makes a network what it is: an architecture is its cells, by whatever name it goes."""
    return spec.architecture if spec.kind == "architecture" else (spec.kind, spec.name)
