"""Settings as tables of values: typed, checked, one line about what is wrong, kept as TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latency_db.errors import InputError

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=1)]


class Table(BaseModel):
    """A frozen table of settings: unknown names and values of another kind are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Tables(Table):
    """A whole configuration: a table of tables."""

    def to_toml(self) -> str:
        """As a file that :func:`read_tables` reads; what is None is left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


class RunTable(Table):
    """How a run goes; nothing of this but the seed and the precision changes what comes of it.

    Attributes:
        seed: of everything that is drawn.
        precision: of the forward pass: ``float32``, or ``bfloat16`` by autocast.
        torch_device: where to compute: ``auto`` is CUDA where there is a device, else the CPU.
        threads: of torch on the CPU; its own choice if None.
        channels_last: memory format.
        checkpoint_minutes: at least so often within an epoch; the end of each epoch is always kept.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    torch_device: str = "auto"
    threads: Count | None = None
    channels_last: bool = False
    checkpoint_minutes: Positive = 10.0


RESUMABLE = frozenset(
    {
        ("data", "folder"),
        ("data", "workers"),
        ("run", "threads"),
        ("run", "checkpoint_minutes"),
        ("run", "torch_device"),
    }
)
"""What a resumed run may set otherwise, whatever it is of: the same data may lie elsewhere now. Other threads may sum
in another order, so figures may differ then."""

Config = TypeVar("Config", bound=Tables)


def merged(*layers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tables of tables as one, of which later ones win, value by value.

    Raises:
        InputError: what should be a table is none.
    """
    tables: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for table, values in layer.items():
            if not isinstance(values, Mapping):
                raise InputError(f"{table} is no table of the configuration: write [{table}] and its settings below")
            tables.setdefault(table, {}).update(values)
    return tables


def validated(kind: type[Config], tables: Mapping[str, Any]) -> Config:
    """Tables as the configuration that they stand for.

    Raises:
        InputError: an unknown name, or a value that makes no sense; the message names it.
    """
    try:
        # Through JSON: it has no tuples, and neither has TOML.
        return kind.model_validate_json(_json(tables))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("literal", "tuple")))
        raise InputError(f"{place or 'the configuration'}: {first['msg'].removeprefix('Value error, ')}") from None


def _json(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document)
    except TypeError as error:
        raise InputError(f"the configuration holds what is no number, text, list or table: {error}") from None


def read_tables(path: Path) -> dict[str, Any]:
    """A TOML file's tables.

    Raises:
        InputError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from None


def differences(one: Config, other: Config, may_differ: Collection[tuple[str, str]]) -> list[str]:
    """The settings in which two configurations differ, as ``table.name``, without those that may."""
    mine, theirs = one.model_dump(), other.model_dump()
    return [
        f"{table}.{name}"
        for table in mine
        for name in sorted({*mine[table], *theirs[table]})
        if mine[table].get(name) != theirs[table].get(name) and (table, name) not in may_differ
    ]
