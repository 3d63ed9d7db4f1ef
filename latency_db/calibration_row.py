"""A calibration as plain data: what turns a sum over operators into the latency of a network."""

from __future__ import annotations

from dataclasses import dataclass

from latency_db.calibration import Calibration, Term
from latency_db.keys import ImageSize


@dataclass(frozen=True, kw_only=True)
class CalibrationRow:
    """One version of the calibration of a target for a space at an image size.

    Attributes:
        space_digest: of the space's settings.
        cv_error: mean absolute percentage error on networks that took no part in the fit, as a fraction.
        networks: how many networks it was learnt on.
        run_id: the run that measured those.
        version: counts from 1; the store assigns it.
    """

    target_id: int
    space: str
    space_digest: str
    image: ImageSize
    batch: int
    method: str
    cv_error: float
    networks: int
    run_id: int | None = None
    version: int = 0
    terms: tuple[Term, ...] = ()

    def calibration(self) -> Calibration:
        """As what it is for."""
        return Calibration.from_terms(self.terms, method=self.method, cv_error=self.cv_error, networks=self.networks)
