"""How long operators take on a device, as a few coefficients per kind: for keys that nobody measured.

A kind is an operator at a stride. Its model is one of

- ``power``: ln(latency / ms) = b₀ + Σ bᵢ xᵢ
- ``costs``: latency / ms = b₀ + Σ bᵢ xᵢ, no b negative
- ``rows``: the few latencies there are, and nothing between them

over features xᵢ that follow from the OpSpec alone (:func:`features`). Outside of what was fitted, and only where it is
asked to, a model answers by ``costs``. Plain numbers: what it says does not depend on the library that fitted it. No
SQL, no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from latency_db._device_features import Feature, costs_nothing, features, macs
from latency_db._device_json import kind_from_json, kind_to_json, mapping, text, whole
from latency_db._device_kind import CrossValidation, Form, Formula, KindModel
from latency_db.errors import ImportFormatError, InputError, PredictionError
from latency_db.keys import OpSpec

__all__ = [
    "CrossValidation",
    "DeviceModel",
    "Feature",
    "Form",
    "Formula",
    "KindModel",
    "costs_nothing",
    "features",
    "fit",
    "load",
    "macs",
    "shipped",
    "shipped_devices",
]

FORMAT = "latency-db/device-model"
VERSION = 1
_KEYS = ("format", "version", "device", "fitted_to", "seed", "versions", "kinds")
_LIBRARIES = ("latency-db", "numpy", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class DeviceModel:
    """The latency of operators on one device.

    Attributes:
        device: its slug.
        fitted_to: where the latencies of the fit come from, for people.
        seed: of the folds.
        versions: of the libraries that fitted it.
        kinds: one per operator and stride, in that order.
    """

    device: str
    fitted_to: str
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[KindModel, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", dict(self.versions))

    @cached_property
    def _by_kind(self) -> dict[tuple[str, int], KindModel]:
        return {(kind.op, kind.stride): kind for kind in self.kinds}

    def kind(self, spec: OpSpec) -> KindModel:
        """The model of the operator's kind.

        Raises:
            PredictionError: it was not fitted to any.
        """
        found = self._by_kind.get((spec.op, spec.stride))
        if found is None:
            raise PredictionError(
                f"{spec.name}: the model of {self.device} was not fitted to {spec.op} at stride {spec.stride}",
                hint="measure it with latency-db profile",
            )
        return found

    def latency_ms(self, spec: OpSpec, extrapolate: bool = False) -> float:
        """The operator's latency.

        Args:
            spec: the operator.
            extrapolate: answer outside of what was fitted, too. Nothing is known of how wrong that is.

        Raises:
            PredictionError: its kind was not fitted; a size of it is outside of what was fitted and it is not to be
                extrapolated; or what comes out is no positive number. The message names the size and what mends it.
        """
        kind = self.kind(spec)
        refusal = kind.refusal(spec)
        if refusal is not None and not extrapolate:
            raise PredictionError(
                f"{spec.name}: {refusal} in the model of {self.device}",
                hint="--extrapolate answers all the same; latency-db profile measures it",
            )
        value = kind.latency_ms(spec)
        if not (math.isfinite(value) and value > 0):
            raise PredictionError(
                f"{spec.name}: the model of {self.device} says {value:.3g} ms, which is no latency",
                hint="measure it with latency-db profile",
            )
        return value

    def rel_error(self, spec: OpSpec) -> float:
        """The half-width that holds 95% of the relative errors which cross-validation found for the operator's kind.

        0 for an operator whose latency the model repeats; ``inf`` where its kind has one row and nothing could be left
        out. Outside of what was fitted it is too small: no one has looked there.

        Raises:
            PredictionError: its kind was not fitted.
        """
        kind = self.kind(spec)
        if spec in kind.rows:
            return 0.0
        return kind.errors.half_width_95 if kind.errors is not None else math.inf

    def extrapolates(self, spec: OpSpec) -> bool:
        """Whether the operator lies outside of what was fitted.

        Raises:
            PredictionError: its kind was not fitted.
        """
        return self.kind(spec).refusal(spec) is not None

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "device": self.device,
            "fitted_to": self.fitted_to,
            "seed": self.seed,
            "versions": dict(self.versions),
            "kinds": [kind_to_json(kind) for kind in self.kinds],
        }

    @classmethod
    def from_json(cls, document: object) -> DeviceModel:
        """Read what :meth:`to_json` wrote; all of it is checked.

        Raises:
            ImportFormatError: what is wrong.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ImportFormatError(f'not a device model: "format" is not {FORMAT!r}')
        if document.get("version") != VERSION:
            raise ImportFormatError(
                f"a device model of version {document.get('version')!r}; this release reads {VERSION}",
                hint="fit it anew with latency-db fit",
            )
        try:
            return cls._checked(document)
        except ValueError as error:
            raise ImportFormatError(f"not a device model: {error}") from None

    @classmethod
    def _checked(cls, document: object) -> DeviceModel:
        found = mapping(document, "the document", _KEYS)
        versions = mapping(found["versions"], "versions")
        if not isinstance(found["kinds"], list) or not found["kinds"]:
            raise ValueError("kinds is not a list with something in it")
        kinds = tuple(map(kind_from_json, found["kinds"]))
        if len({(kind.op, kind.stride) for kind in kinds}) < len(kinds):
            raise ValueError("a kind is there twice")
        return cls(
            device=text(found, "device"),
            fitted_to=text(found, "fitted_to"),
            seed=whole(found, "seed", 0),
            versions={name: text(versions, name) for name in versions},
            kinds=kinds,
        )


def fit(latencies_ms: Mapping[OpSpec, float], *, device: str, fitted_to: str, seed: int = 0) -> DeviceModel:
    """Fit a model to latencies. The same latencies and seed give the same model.

    A skip at stride 1 is left out: it costs nothing, and what was timed is the timing.

    Args:
        latencies_ms: by operator; positive.
        device: slug of what they are of.
        fitted_to: where they come from, for people.
        seed: of the folds.

    Raises:
        InputError: there is none, or one that is not a positive number.
    """
    from latency_db._device_fit import fit_kind

    chosen = {spec: float(value) for spec, value in latencies_ms.items() if not costs_nothing(spec)}
    if not chosen:
        raise InputError(f"there is no latency of {device} to fit to", hint="latency-db profile measures some")
    for spec, value in chosen.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{spec.name}: a latency of {value} ms is not a positive number")
    kinds = []
    for op, stride in sorted({(spec.op, spec.stride) for spec in chosen}):
        rows = {spec: chosen[spec] for spec in sorted(chosen) if (spec.op, spec.stride) == (op, stride)}
        kinds.append(fit_kind(op, stride, rows, seed))
    return DeviceModel(
        device=device,
        fitted_to=fitted_to,
        seed=seed,
        versions={name: version(name) for name in _LIBRARIES},
        kinds=tuple(kinds),
    )


def load(path: Path) -> DeviceModel:
    """Read a model from a file.

    Raises:
        InputError: it cannot be read.
        ImportFormatError: it is not a model.
    """
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ImportFormatError as error:
        raise ImportFormatError(f"{path}: {error.message}", hint=error.hint) from None
    except (ValueError, RecursionError) as error:
        raise ImportFormatError(f"{path} is not JSON: {error}") from None


def _parsed(text_: str) -> DeviceModel:
    return DeviceModel.from_json(json.loads(text_))


_SHIPPED = files("latency_db") / "models"


def shipped_devices() -> list[str]:
    """The devices whose models come with the package."""
    return sorted(entry.name.removesuffix(".json") for entry in _SHIPPED.iterdir() if entry.name.endswith(".json"))


def shipped(device: str) -> DeviceModel | None:
    """The model of a device that comes with the package; None where there is none."""
    if device not in shipped_devices():
        return None
    return _parsed((_SHIPPED / f"{device}.json").read_text(encoding="utf-8"))
