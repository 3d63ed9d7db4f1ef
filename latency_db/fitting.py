"""A device model from what is stored of a target, and predictions in the database for what nobody measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backends.environment import describe
from latency_db.device_model import DeviceModel, costs_nothing, fit
from latency_db.errors import NotFoundError, PredictionError
from latency_db.keys import ImageSize, OpSpec
from latency_db.rows import LatencyRow, TargetRow
from latency_db.schema import Provenance, RunKind
from latency_db.space import Space
from latency_db.store import Store


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a fit did.

    Attributes:
        model: what was fitted.
        rows: latencies that it was fitted to, of all image sizes.
        flagged: how many of them rest on throttled or contended visits for lack of others.
        filled: predictions that were stored.
        run_id: the run that they belong to; None where nothing was stored.
    """

    model: DeviceModel
    rows: int
    flagged: int
    filled: int
    run_id: int | None


def fit_target(
    store: Store,
    target_row: TargetRow,
    *,
    space: Space,
    image: ImageSize,
    batch: int = 1,
    extrapolate: bool = False,
    fill: bool = True,
    seed: int = 0,
) -> FitResult:
    """Fit a model to a target's latencies and store its predictions for what the space lacks.

    Every operator's best latency counts, measured before imported, at whatever image size; predictions never do, so a
    model is not fitted to another model's values. Predictions are a run of their own in a new series, which takes the
    place of earlier predictions and never of a measurement. All of them are made before the first is stored.

    Args:
        store: the database.
        target_row: what to fit to and to predict for.
        space: its operators without a latency are filled in.
        image: at this image size.
        batch: and batch.
        extrapolate: fill in operators outside of what was fitted, too.
        fill: without it, nothing is stored.
        seed: of the fit.

    Raises:
        NotFoundError: nothing is measured or imported on the target.
        PredictionError: an operator of the space cannot be predicted; nothing is stored then.
    """
    known = known_latencies(store, target_row)
    usable = {spec: row for spec, row in known.items() if not costs_nothing(spec)}
    if not usable:
        raise NotFoundError(
            f"nothing is measured or imported on {target_row.line}",
            hint=f"latency-db profile --device {target_row.target.device}; latency-db import",
        )
    model = fit(
        {spec: row.latency_ms for spec, row in usable.items()},
        device=target_row.target.device,
        fitted_to=_described(target_row, usable.values()),
        seed=seed,
    )
    flagged = sum(row.flagged for row in usable.values())
    if not fill:
        return FitResult(model=model, rows=len(usable), flagged=flagged, filled=0, run_id=None)
    lacking = [spec for spec in space.specs(image, batch) if spec not in known]
    predicted = predictions(model, lacking, extrapolate)
    run_id = _stored(store, target_row, model, predicted, space, image, batch) if predicted else None
    return FitResult(model=model, rows=len(usable), flagged=flagged, filled=len(predicted), run_id=run_id)


def known_latencies(store: Store, target_row: TargetRow) -> dict[OpSpec, LatencyRow]:
    """The measured and imported latencies of a target in ms, each operator's best."""
    rows = store.query(device=target_row.target.key)
    return {row.spec: row for row in rows if row.provenance != Provenance.PREDICTED}


def predictions(model: DeviceModel, specs: Sequence[OpSpec], extrapolate: bool) -> dict[OpSpec, float]:
    """Latencies in ms for all of the operators.

    Raises:
        PredictionError: one of them has none; the message names the first and counts the rest.
    """
    found: dict[OpSpec, float] = {}
    refused: list[PredictionError] = []
    for spec in specs:
        try:
            found[spec] = model.latency_ms(spec, extrapolate)
        except PredictionError as error:
            refused.append(error)
    if refused:
        # First those that --extrapolate does not mend either.
        refused.sort(key=lambda error: "--extrapolate" in (error.hint or ""))
        more = f"; nor are {len(refused) - 1} more of {len(specs)}" if len(refused) > 1 else ""
        raise PredictionError(f"not predicted: {refused[0].message}{more}", hint=refused[0].hint)
    return found


def _described(target_row: TargetRow, rows: Iterable[LatencyRow]) -> str:
    counts = Counter(row.provenance for row in rows)
    parts = " and ".join(f"{count} {provenance}" for provenance, count in sorted(counts.items()))
    target = target_row.target
    return f"{parts} latencies of target {target.key[:8]}: {target.backend} {target.runtime_version} {target.precision}"


def _stored(
    store: Store,
    target_row: TargetRow,
    model: DeviceModel,
    predicted: Mapping[OpSpec, float],
    space: Space,
    image: ImageSize,
    batch: int,
) -> int:
    """Store predictions as a run of a new series, with the model that they come from; returns its id."""
    ids = store.ensure_specs(list(predicted))
    with store.running(
        target_row.id,
        RunKind.PREDICT,
        series=store.newest_series(target_row.id) + 1,
        plan={
            "image": str(image),
            "batch": batch,
            "space": space.name,
            "space_settings": dict(space.settings),
            "model": model.to_json(),
        },
        environment=describe(),
    ) as run:
        run.reason = "predicted"
        store.add_values(run.id, [(ids[spec], value) for spec, value in predicted.items()], Provenance.PREDICTED)
    return run.id
