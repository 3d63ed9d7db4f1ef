"""Optional runtimes: imported when they are needed, and what is said where that does not work."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends.compiling import first_line
from backends.errors import RuntimeMissingError
from backends.protocol import Availability

BROKEN = (ImportError, OSError, AttributeError, RuntimeError, SyntaxError, TypeError, ValueError)
"""What an import of a broken installation ends in: a library that is missing or cut short, files of two versions on top
of each other, bindings that were built for another numpy."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A module that may be here or not.

    Attributes:
        module: its name, and that of the package that brings it.
        has: an attribute that the whole of it has: what is left of a package that was half removed still imports.
        oldest: the first version (major, minor) that works.
        before: the first major version that is not known to.
        install: the command that brings it.
        without: modules that it is not to find while it is imported, and can do without.
    """

    module: str
    has: str
    oldest: tuple[int, int]
    before: int
    install: str
    without: tuple[str, ...] = ()

    def load(self) -> Any:
        """The module.

        Raises:
            RuntimeMissingError: it is not installed, cannot be imported, or is of another version.
        """
        try:
            with _hidden(self.without):
                module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name == self.module:
                raise RuntimeMissingError(f"{self.module} is not installed", hint=self.install) from error
            raise self._broken(f"cannot be imported: {first_line(error)}") from error
        except BROKEN as error:
            raise self._broken(f"cannot be imported: {first_line(error)}") from error
        if not hasattr(module, self.has) or not re.match(r"\d+\.\d+", str(getattr(module, "__version__", ""))):
            raise self._broken("is installed only in part")
        version = self.version(module)
        if not self.oldest <= _numbers(version)[:2] < (self.before, 0):
            oldest = ".".join(map(str, self.oldest))
            raise RuntimeMissingError(
                f"{self.module} {version} is not a version from {oldest} on and before {self.before}", hint=self.install
            )
        return module

    def version(self, module: Any) -> str:
        """Its version without what names a commit: ``2026.4.0`` of ``2026.4.0-21345-abcdef``; of ``2.13.0+cpu`` all."""
        found = re.match(r"\d+(\.\d+)+(\+[\w.]+)?", str(module.__version__))
        assert found is not None, "load has looked"
        return found[0]

    def availability(self) -> Availability:
        """Whether it can be used."""
        try:
            module = self.load()
        except RuntimeMissingError as error:
            return Availability(available=False, runtime=self.module, reason=error.message, install=error.hint)
        return Availability(available=True, runtime=self.module, runtime_version=self.version(module))

    def _broken(self, how: str) -> RuntimeMissingError:
        return RuntimeMissingError(f"{self.module} {how}", hint=again(self.install))


TORCH = Runtime(module="torch", has="nn", oldest=(2, 6), before=3, install="pip install torch")
"""What builds the modules of all workloads: no backend runs anything without it."""


@contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Let modules that are not imported yet look as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def again(install: str) -> str:
    """The command that brings something, for what is here and broken: pip would leave it as it is."""
    return install.replace(" install", " install --force-reinstall", 1)


def together(first: Runtime, *others: Runtime) -> Availability:
    """Of ``first``, where all others are here too; else what the first of them lacks, as a reason for ``first``."""
    here = first.availability()
    if not here.available:
        return here
    for other in others:
        found = other.availability()
        if not found.available:
            return dataclasses.replace(here, available=False, reason=found.reason, install=found.install)
    return here


def onnx(install: str) -> Runtime:
    """The ONNX library, which whatever takes an exported graph needs.

    Args:
        install: the command that brings it along with that.
    """
    return Runtime(module="onnx", has="ModelProto", oldest=(1, 17), before=2, install=install)
