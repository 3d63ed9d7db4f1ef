"""One target's latencies for one space at one image size, loaded once. No torch here."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.samples import Estimate, estimates
from latency_db import spaces
from latency_db.calibration import Calibration, PairKey
from latency_db.errors import NotFoundError, PredictionError
from latency_db.keys import ImageSize, OpSpec
from latency_db.predict import Prediction, predict
from latency_db.profile_command import profile_command
from latency_db.rows import SpecSeries, TargetRow
from latency_db.space import Decomposition, Space
from latency_db.store import Store

if TYPE_CHECKING:
    from latency_db.device_model import DeviceModel

Array = NDArray[np.float64]
MEASURED, PREDICTED = "measured", "predicted"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatencyTable:
    """Latencies of one target, immutable.

    Attributes:
        device: its slug.
        target: for people: all that tells it from another target.
        space: what the operators belong to, with its settings.
        image: network's input size.
        batch: images at once.
        specs: the operators, sorted.
        latencies_ms: (n,) read-only; each operator timed alone.
        rel_ci: (n,) read-only; half-width of the 95% interval over the latency, NaN where nothing is known of it.
        provenance: (n,) measured, imported or predicted.
        calibration: from operators timed alone to networks.
        reference_ms: what one unit of the calibration's pair terms is; 1 where there is no reference.
        target_id: the target in the database; None where a shipped model answers.
        flagged: operators of which fewer than two visits were clean: their latencies rest on all visits.
    """

    device: str
    target: str
    space: Space
    image: ImageSize
    batch: int
    specs: tuple[OpSpec, ...]
    latencies_ms: Array
    rel_ci: Array
    provenance: tuple[str, ...]
    calibration: Calibration
    reference_ms: float
    target_id: int | None = None
    flagged: frozenset[OpSpec] = frozenset()

    def __post_init__(self) -> None:
        for name in ("latencies_ms", "rel_ci"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        n = len(self.specs)
        if not (self.latencies_ms.shape == self.rel_ci.shape == (n,) and len(self.provenance) == n):
            raise ValueError("specs, latencies_ms, rel_ci and provenance are not of one length")
        if len(set(self.specs)) != n:
            raise ValueError("an operator is there twice")
        if not (np.isfinite(self.latencies_ms).all() and (self.latencies_ms > 0).all() and self.reference_ms > 0):
            raise ValueError("latencies are positive numbers")

    @classmethod
    def load(
        cls,
        *,
        device: str,
        backend: str | None = None,
        settings: Mapping[str, object] | None = None,
        space: Space | str = "fasterseg",
        image: ImageSize | str = "1024x2048",
        batch: int = 1,
        specs: Iterable[OpSpec] | None = None,
        store: Store | None = None,
        db: str | None = None,
        predict_missing: bool = False,
        extrapolate: bool = False,
    ) -> LatencyTable:
        """Read one target's table.

        Where the database has no target of the device at all, the model that is shipped for it answers, if there is
        one. Wherever predicted latencies are used, one line of log (a warning) says so.

        Args:
            device: its slug, or eight or more digits of a target's key.
            backend: where the device has several.
            settings: of the backend, where several targets differ in them.
            space: the space or its name (with its default settings).
            image: network's input size.
            batch: images at once.
            specs: only these operators; all of the space's if None.
            store: the database, left open.
            db: the database's URL or path, where ``store`` is not given.
            predict_missing: fill what the database lacks by a model fitted to what it has.
            extrapolate: let a model answer outside the range it was fitted on.

        Raises:
            InputError: no such space. ``ValueError``: no such image size.
            NotFoundError: no such device, and no model of it.
            AmbiguousTargetError: several targets match.
            PredictionError: a latency is missing, or out of a model's range.
        """
        bound = spaces.create(space) if isinstance(space, str) else space
        size = ImageSize.parse(image) if isinstance(image, str) else image
        wanted = tuple(sorted(set(specs))) if specs is not None else tuple(bound.specs(size, batch))
        with Store.open(db) if store is None else nullcontext(store) as opened:
            row: TargetRow | None
            model: DeviceModel | None = None
            series: dict[OpSpec, SpecSeries] = {}
            calibration = Calibration.identity()
            if opened.has_latencies(device):
                row = opened.resolve_target(device, backend, settings)
            else:
                row, model = None, _shipped(opened, device, backend, settings)
            if row is not None:
                series = opened.visit_ratios(row.id, image=size, batch=batch)
                calibration = _calibration(opened, row, bound, size, batch)
            missing = [spec for spec in wanted if spec not in series]
            if row is not None and missing:
                if not predict_missing:
                    raise _lacking(row, bound, size, batch, wanted, missing)
                model = _fitted(opened, row, bound, size, batch)
        known = _latencies(row, {spec: series[spec] for spec in wanted if spec in series})
        outside: list[OpSpec] = []
        if missing:
            assert model is not None
            known |= _predicted(model, missing, extrapolate)
            outside = [spec for spec in missing if model.extrapolates(spec)]
        table = cls(
            device=row.target.device if row is not None else device,
            target=row.line if row is not None else f"{device}: the shipped model (predicted)",
            space=bound,
            image=size,
            batch=batch,
            specs=wanted,
            latencies_ms=np.array([known[spec].latency_ms for spec in wanted]),
            rel_ci=np.array([known[spec].rel_ci for spec in wanted]),
            provenance=tuple(known[spec].provenance for spec in wanted),
            flagged=frozenset(spec for spec in wanted if known[spec].flagged),
            calibration=calibration,
            reference_ms=row.reference_ms if row is not None and row.reference_ms is not None else 1.0,
            target_id=row.id if row is not None else None,
        )
        table._announce(shipped=row is None, outside=outside)
        return table

    def _announce(self, *, shipped: bool, outside: Sequence[OpSpec]) -> None:
        """One line where latencies are predicted, or measured badly: nobody should take them for others unawares."""
        predicted = self.provenance.count(PREDICTED)
        if shipped:
            _log.warning("%s: no latency is stored; the model that is shipped for it predicts them", self.device)
        elif predicted:
            _log.warning("%s: %d of %d operator latencies are predicted", self.device, predicted, len(self.specs))
        if self.flagged:
            _log.warning(
                "%s: %d of %d operator latencies rest on visits that were throttled or contended, for lack of others",
                self.device,
                len(self.flagged),
                len(self.specs),
            )
        if outside:
            _log.warning(
                "%s: %d operators lie outside of what the model was fitted to, the first of them %s: nobody knows how "
                "wrong their latencies are",
                self.device,
                len(outside),
                outside[0].name,
            )

    @cached_property
    def _index(self) -> dict[OpSpec, int]:
        return {spec: index for index, spec in enumerate(self.specs)}

    def position(self, spec: OpSpec) -> int:
        """Where the operator is in ``specs``.

        Raises:
            PredictionError: the table does not have it.
        """
        index = self._index.get(spec)
        if index is None:
            raise PredictionError(
                f"the table of {self.device} at {self.image} has no {spec.name}",
                hint="it was loaded for another space, other settings or another size",
            )
        return index

    @cached_property
    def in_network_ms(self) -> Array:
        """(n,) read-only: what each operator adds to a network, by the calibration."""
        ratios = zip(self.specs, (self.latencies_ms / self.reference_ms).tolist(), strict=True)
        shares = np.array([self.calibration.operator_ratio(spec, ratio) for spec, ratio in ratios])
        return _frozen(shares * self.reference_ms)

    def pair_ms(self, pair: PairKey) -> float:
        """What the calibration adds for two adjacent operators; 0 for a pair that it has no term for."""
        return self.calibration.pair_terms.get(pair, 0.0) * self.reference_ms

    def predict(self, decomposition: Decomposition) -> Prediction:
        """The latency of one network: the sum over its operators and the pair terms.

        Raises:
            PredictionError: an operator that the table does not have.
        """
        ratios = {}
        for spec in set(decomposition.specs):
            index = self.position(spec)
            ratios[spec] = Estimate(
                value=float(self.latencies_ms[index]) / self.reference_ms, rel_ci=float(self.rel_ci[index]), visits=1
            )
        return predict(decomposition, ratios, self.calibration, self.reference_ms)


def _frozen(values: Array) -> Array:
    """A copy in memory that nobody can write to, not even by setting a flag."""
    return np.frombuffer(np.ascontiguousarray(values, dtype=np.float64).tobytes(), dtype=np.float64)


class _Known(NamedTuple):
    latency_ms: float
    rel_ci: float
    provenance: str
    flagged: bool = False


def _latencies(row: TargetRow | None, series: Mapping[OpSpec, SpecSeries]) -> dict[OpSpec, _Known]:
    if row is None:
        return {}
    visits = {spec: one.values(row.reference_ms) for spec, one in series.items()}
    estimated, rel_ci = estimates([found.values for found, _ in visits.values()])
    known = {}
    for spec, value, interval in zip(series, estimated.tolist(), rel_ci.tolist(), strict=True):
        found, unit_ms = visits[spec]
        known[spec] = _Known(value * unit_ms, _sure(interval), series[spec].provenance, found.flagged)
    return known


def _sure(rel_ci: float) -> float:
    """One visit, one imported value, a kind of one row: they say nothing of how sure they are."""
    return rel_ci if math.isfinite(rel_ci) else math.nan


def _calibration(store: Store, row: TargetRow, space: Space, image: ImageSize, batch: int) -> Calibration:
    found = store.calibration(row.id, space.name, spaces.digest(space), image, batch)
    return Calibration.identity() if found is None else found.calibration()


def _shipped(store: Store, device: str, backend: str | None, settings: Mapping[str, object] | None) -> DeviceModel:
    """The model that comes with the package, of a device that the database has nothing of."""
    from latency_db.device_model import shipped, shipped_devices

    model = shipped(device)
    if model is not None and backend is None and not settings:
        return model
    if model is not None:
        raise NotFoundError(
            f"the database has no latency of {device!r}", hint="without a backend the model that is shipped answers"
        )
    known = ", ".join(sorted({row.target.device for row in store.targets() if row.n_measurements})) or "none"
    raise NotFoundError(
        f"the database has no latency of {device!r}; it has: {known}; models are shipped of: "
        f"{', '.join(shipped_devices())}",
        hint=f"latency-db profile --device {device} measures this machine; latency-db import brings a file",
    )


def _fitted(store: Store, row: TargetRow, space: Space, image: ImageSize, batch: int) -> DeviceModel:
    from latency_db.fitting import fit_target

    return fit_target(store, row, space=space, image=image, batch=batch, fill=False).model


def _predicted(model: DeviceModel, specs: Sequence[OpSpec], extrapolate: bool) -> dict[OpSpec, _Known]:
    from latency_db.fitting import predictions

    return {
        # Cross-validation says nothing of what lies outside.
        spec: _Known(latency_ms, math.nan if model.extrapolates(spec) else _sure(model.rel_error(spec)), PREDICTED)
        for spec, latency_ms in predictions(model, specs, extrapolate).items()
    }


def _lacking(
    row: TargetRow, space: Space, image: ImageSize, batch: int, wanted: Sequence[OpSpec], missing: Sequence[OpSpec]
) -> PredictionError:
    foreign = set(missing).difference(space.specs(image, batch))
    if foreign:
        mends = (
            f"{min(foreign).name} is no operator of {space.name} with these settings: name those of the architecture "
            "(stem, head, classes) with --space-setting"
        )
    elif MEASURED in row.provenances:
        mends = f"measure them: {profile_command(row.target, space, image, batch)}"
    else:
        mends = f"they were imported: import a file that has them, or measure on {row.target.device}"
    return PredictionError(
        f"{row.target.device} has no latency for {len(missing)} of {len(wanted)} operators at {image}, "
        f"the first of them {missing[0].name}",
        hint=f"{mends}; or ask for predicted ones: --predict-missing",
    )
