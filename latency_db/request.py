"""What ``latency-db profile`` was asked to measure, as a value: it can be checked without the device, sent and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends import registry
from backends.errors import BackendNotFoundError
from backends.measure import Plan
from latency_db import spaces
from latency_db.campaign import Campaign
from latency_db.errors import InputError
from latency_db.keys import ImageSize
from latency_db.profiling import DEFAULT_CALIBRATION_NETWORKS, ProfileResult, profile, select
from latency_db.recording import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latency_db.store import Store


class ProfileRequest(BaseModel):
    """One profile of one space on one target.

    Attributes:
        backend: name of the backend that measures.
        settings: the backend's, as they were given.
        device: slug of the device; None for the backend's own name of the machine.
        space: name of the space.
        space_settings: the space's.
        batch: images at once.
        image: network input, HEIGHTxWIDTH.
        rel_ci: interval at which an operator is known well enough.
        time_budget_s: for all of it.
        only: patterns as ``profiling.select`` takes them.
        remeasure: begin a new series.
        calibration_networks: how many; 0 for none.
        seed: of the order within rounds.
        lock_clocks: as :class:`~latency_db.campaign.Campaign` has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = "ort"
    settings: dict[str, Any] = Field(default_factory=dict)
    device: str | None = None
    space: str = "fasterseg"
    space_settings: dict[str, Any] = Field(default_factory=dict)
    batch: int = Field(default=1, ge=1)
    image: str
    rel_ci: float = 0.01
    time_budget_s: float = 600.0
    only: tuple[str, ...] = ()
    remeasure: bool = False
    calibration_networks: int = Field(default=DEFAULT_CALIBRATION_NETWORKS, ge=0)
    seed: int = 0
    lock_clocks: Annotated[int, Field(gt=0)] | Literal["default"] | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> ProfileRequest:
        """The request that a JSON document holds.

        Raises:
            InputError: it holds none, or one of another version.
        """
        try:
            return cls.model_validate(dict(document))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"this is no request to profile: {where}: {first['msg']}") from None

    @property
    def image_size(self) -> ImageSize:
        """The network's input.

        Raises:
            InputError: it is not HEIGHTxWIDTH.
        """
        try:
            return ImageSize.parse(self.image)
        except ValueError as error:
            raise InputError(str(error)) from None

    @property
    def title(self) -> str:
        """What it measures, in a few words."""
        return f"{self.space} at {self.image} with {self.backend}"

    def plan(self, spent_s: float = 0.0) -> Plan:
        """When the timing loop stops.

        Args:
            spent_s: how much of the time budget is gone already. Where all is, the loop ends before its first visit.

        Raises:
            InputError: figures that make no plan.
        """
        try:
            whole = Plan(rel_ci=self.rel_ci, time_budget_s=self.time_budget_s)
            return Plan(rel_ci=self.rel_ci, time_budget_s=max(whole.time_budget_s - spent_s, 1e-6))
        except ValueError as error:
            raise InputError(str(error)) from None

    def check(self) -> None:
        """Find what is wrong with it as far as this machine can tell, which need not have the device.

        A backend that is not registered here may be where the device is: that one's settings are not looked at.

        Raises:
            LatencyDbError: the space, its settings, the size or a pattern.
            BackendError: a setting of the backend, where it is registered here.
        """
        self.plan()
        select(spaces.create(self.space, **self.space_settings).specs(self.image_size, self.batch), self.only)
        try:
            registry.get(self.backend).parse_settings(self.settings)
        except BackendNotFoundError:
            return

    def campaign(self, store: Store, report: Report) -> Campaign:
        """What measures it here.

        Raises:
            LatencyDbError: the space or its settings.
            BackendError: no such backend, its runtime is missing, it refuses a setting, or clocks cannot be locked.
        """
        space = spaces.create(self.space, **self.space_settings)
        backend = registry.create(self.backend, **self.settings)
        return Campaign(
            store, backend, space, self.image_size, self.batch, self.device, report, lock_clocks=self.lock_clocks
        )

    def run(
        self,
        campaign: Campaign,
        *,
        spent_s: float = 0.0,
        remeasure: bool | None = None,
        noted: Mapping[str, object] | None = None,
    ) -> ProfileResult:
        """Measure it; see ``profiling.profile``.

        Args:
            campaign: of :meth:`campaign`.
            spent_s: as :meth:`plan` has it.
            remeasure: another answer than the request's own.
            noted: as ``profiling.profile`` has it.
        """
        return profile(
            campaign,
            self.plan(spent_s),
            only=self.only,
            remeasure=self.remeasure if remeasure is None else remeasure,
            calibration_networks=self.calibration_networks,
            seed=self.seed,
            noted=noted,
        )
