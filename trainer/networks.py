"""Networks by what names them: an architecture, one of the zoo, or a user's own module."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backends.compiling import compile_errors
from backends.errors import BackendError
from latency_db.cli.architecture import read_architecture
from latency_db.errors import InputError
from trainer.architecture import Architecture, ArchitectureError
from trainer.builtin import BUILTIN
from trainer.zoo import ZOO

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["architecture", "zoo", "module"]
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What network is meant, before it is built for a number of classes.

    Attributes:
        kind: one of the space, one of the zoo, or a module of the user's own.
        name: what to call it: the built-in's or the zoo's name, the file's stem, or ``package.module:factory``.
        architecture: where it is one of the space.
    """

    kind: Kind
    name: str
    architecture: Architecture | None = None

    def build(self, num_classes: int, *, auxiliary: bool = False) -> nn.Module:
        """The network, freshly drawn: (N, 3, H, W) images to (N, ``num_classes``, h, w) logits.

        Args:
            num_classes: channels of the logits.
            auxiliary: with the heads that only training uses, where the network has some.

        Raises:
            InputError: the user's callable makes no network.
            BackendError: it cannot be imported, or fails.
        """
        if self.kind == "architecture":
            from trainer.network import Network

            assert self.architecture is not None
            return Network(replace(self.architecture, num_classes=num_classes), auxiliary=auxiliary)
        if self.kind == "zoo":
            from trainer import zoo

            return zoo.build(self.name, num_classes, auxiliary=auxiliary)
        return _own(self.name, num_classes)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_json` reads them back."""
        document: dict[str, Any] = {"kind": self.kind, "name": self.name}
        if self.architecture is not None:
            document["architecture"] = self.architecture.to_json()
        return document

    @classmethod
    def from_json(cls, document: object) -> NetworkSpec:
        """Read :meth:`to_json`'s output. Nothing is imported or built.

        Raises:
            InputError: it is none.
        """
        if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
            raise InputError("the network is not named")
        kind, name = document.get("kind"), document["name"]
        if kind == "architecture":
            try:
                architecture = Architecture.from_json(document.get("architecture") or {})
            except ArchitectureError as error:
                raise InputError(f"network {name}: {error}") from None
            return cls(kind=kind, name=name, architecture=architecture)
        if kind == "zoo" and name in ZOO:
            return cls(kind=kind, name=name)
        if kind == "module" and _FACTORY.fullmatch(name):
            return cls(kind=kind, name=name)
        raise InputError(f"network {name!r} of kind {kind!r} is unknown to this release")


def is_trained(named: str) -> bool:
    """Whether a trained network is meant, by the folder of its training or by its file; a name goes before both."""
    path = Path(named)
    if named in ZOO or named in BUILTIN:
        return False
    # torch writes archives, whatever they are called; one that was cut short is none, and should be called damaged.
    return path.is_dir() or path.suffix == ".pt" or (path.is_file() and zipfile.is_zipfile(path))


def find_network(named: str) -> NetworkSpec:
    """The network that a user means.

    Args:
        named: a built-in architecture, a network of the zoo, the JSON file of an architecture, or
            ``package.module:factory``, a callable that takes the number of classes and returns a module.

    Raises:
        InputError: it is none of these; the message says what there is.
    """
    if named in ZOO:
        return NetworkSpec(kind="zoo", name=named)
    if named not in BUILTIN and _FACTORY.fullmatch(named):
        return NetworkSpec(kind="module", name=named)
    try:
        architecture = read_architecture(named, BUILTIN, Architecture.from_json)
    except InputError as error:
        if Path(named).exists() or not named:
            raise
        raise InputError(f"{error}; of the zoo: {', '.join(sorted(ZOO))}; or package.module:factory") from None
    return NetworkSpec(
        kind="architecture", name=named if named in BUILTIN else Path(named).stem, architecture=architecture
    )


def _own(factory: str, num_classes: int) -> nn.Module:
    from torch import nn

    module_name, _, name = factory.partition(":")
    # What a stranger's module does while it is imported, or makes a network, may fail in any way.
    with compile_errors(f"{factory} (--debug shows where)"):
        try:
            make: Callable[[int], Any] = getattr(importlib.import_module(module_name), name)
        except ModuleNotFoundError as error:
            raise BackendError(
                f"cannot import {factory}: {error}", hint="is its folder on PYTHONPATH, or its package installed?"
            ) from None
        network = make(num_classes)
    if not isinstance(network, nn.Module):
        raise InputError(f"{factory}({num_classes}) gives {type(network).__name__}, not a torch module")
    return network
