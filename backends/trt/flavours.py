"""TensorRT and TensorRT-RTX: which of the two, in which version, and where they differ."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backends.compiling import first_line
from backends.errors import InvalidSettingError, RuntimeMissingError
from backends.runtimes import BROKEN, again


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """One of the two.

    Attributes:
        name: of the setting, and of the runtime in a target.
        modules: the names it is imported by, the first that is installed.
        oldest: the first version (major, minor) that this code knows.
        newest: the last major version that it knows.
        install: the command.
        builds_ahead: whether it builds for a compute capability that is not here.
    """

    name: str
    modules: tuple[str, ...]
    oldest: tuple[int, int]
    newest: int
    install: str
    builds_ahead: bool


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            name="tensorrt_rtx",
            modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),
            oldest=(1, 0),
            newest=1,
            install="pip install 'latency-db[trt-rtx]'",
            builds_ahead=True,
        ),
        # 8.6 is the last for Pascal cards, and the first with all that this code uses.
        Flavour(
            name="tensorrt",
            modules=("tensorrt",),
            oldest=(8, 6),
            newest=11,
            install="pip install 'latency-db[trt]'",
            builds_ahead=False,
        ),
    )
}
DEFAULT = "tensorrt_rtx"


class Api:
    """A flavour's module, imported, and what depends on its version."""

    def __init__(self, flavour: Flavour, module: Any) -> None:
        self.flavour, self.module = flavour, module
        self.version = str(module.__version__)

    @property
    def strongly_typed(self) -> bool:
        """Whether the graph's types alone decide what is computed in: then there are no flags for precisions."""
        return not hasattr(self.module.BuilderFlag, "FP16")

    @property
    def network_flags(self) -> int:
        """What ``create_network`` takes: 8.6 must be told that shapes hold the batch, 11 knows no such flag."""
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        return 0 if flag is None else 1 << int(flag)

    @cached_property
    def capabilities(self) -> dict[str, Any]:
        """Compute capabilities that it builds for ahead of time, by their usual names: ``8.6``."""
        members = getattr(self.module, "ComputeCapability", None)
        found = {}
        for name in dir(members) if members is not None else ():
            match = re.fullmatch(r"SM(\d+)(\d)", name)
            if match is not None:
                found[f"{match[1]}.{match[2]}"] = getattr(members, name)
        return dict(sorted(found.items(), key=lambda item: _numbers(item[0])))

    def members_of(self, capabilities: Sequence[str]) -> list[Any]:
        """Compute capabilities as the module has them.

        Raises:
            InvalidSettingError: one that it does not build for.
        """
        for capability in capabilities:
            if capability not in self.capabilities:
                raise InvalidSettingError(
                    f"{self.flavour.name} {self.version} does not build for compute capability {capability}; "
                    f"it does for {', '.join(self.capabilities) or 'none'}"
                )
        return [self.capabilities[capability] for capability in capabilities]


def load(name: str) -> Api:
    """The flavour of that name.

    Raises:
        RuntimeMissingError: it is not installed, cannot be imported, or is of a version that this code does not know.
    """
    flavour = FLAVOURS[name]
    module = _imported(flavour)
    version = str(getattr(module, "__version__", ""))
    oldest = ".".join(map(str, flavour.oldest))
    if not re.match(r"\d+\.\d+", version) or not hasattr(module, "Builder"):
        raise RuntimeMissingError(f"{name} is installed only in part", hint=again(flavour.install))
    if not flavour.oldest <= _numbers(version)[:2] < (flavour.newest + 1, 0):
        raise RuntimeMissingError(
            f"{name} {version} is not one of the versions {oldest} to {flavour.newest} that this backend knows",
            hint=flavour.install,
        )
    if not hasattr(module, "OnnxParser"):
        raise RuntimeMissingError(f"{name} {version} is installed without its ONNX parser", hint=again(flavour.install))
    return Api(flavour, module)


def _imported(flavour: Flavour) -> Any:
    for name in flavour.modules:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise RuntimeMissingError(
                    f"{flavour.name} cannot be imported: {first_line(error)}", hint=again(flavour.install)
                ) from error
        except BROKEN as error:
            raise RuntimeMissingError(
                f"{flavour.name} cannot be imported: {first_line(error)}", hint=again(flavour.install)
            ) from error
    raise RuntimeMissingError(f"{flavour.name} is not installed", hint=flavour.install)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
