"""Options and lines that the commands which measure share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from latency_db.cli.common import DURATION, backend_options, device_option

if TYPE_CHECKING:
    from backends.measure import Outcome
    from backends.protocol import Target

Command = Callable[..., Any]


def timing_options(time_budget: str) -> Callable[[Command], Command]:
    """``--backend`` and its settings, ``--device``, ``--rel-ci``, ``--time-budget``, ``--remeasure``, ``--seed``.

    Args:
        time_budget: the default, as in 20m.
    """

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order within rounds."),
            click.option(
                "--remeasure", is_flag=True, help="Begin anew instead of going on with a run that was cut short."
            ),
            click.option(
                "--time-budget", type=DURATION, default=time_budget, show_default=True, help="Stop after this long."
            ),
            click.option(
                "--rel-ci", type=float, default=0.01, show_default=True, help="Half-width of the 95% interval to reach."
            ),
            device_option,
            backend_options,
        ):
            command = option(command)
        return command

    return decorate


def target_line(target: Target) -> str:
    """What the latencies are of, for people."""
    settings = ", ".join(f"{name} {value}" for name, value in target.settings.items())
    return f"{target.device} ({target.backend} {target.runtime_version}, {target.precision}; {settings})"


def outcome_line(outcome: Outcome, kept_visits: int) -> str:
    """How measuring went, for people."""
    kept = f" beside {kept_visits} of a run that was cut short" if kept_visits else ""
    return (
        f"{outcome.visits} visits{kept}, {outcome.rounds} full rounds, {outcome.elapsed_s:.0f} s; "
        f"stopped: {outcome.reason}"
    )


def target_json(target: Target) -> dict[str, Any]:
    """What the latencies are of, as JSON values."""
    return {
        "device": target.device,
        "device_name": target.device_name,
        "backend": target.backend,
        "runtime": target.runtime,
        "runtime_version": target.runtime_version,
        "precision": target.precision,
        "settings": dict(target.settings),
    }


def outcome_json(outcome: Outcome, run_id: int, kept_visits: int) -> dict[str, Any]:
    """How measuring went, as JSON values."""
    return {
        "run": run_id,
        "rounds": outcome.rounds,
        "visits": outcome.visits,
        "kept_visits": kept_visits,
        "elapsed_s": outcome.elapsed_s,
        "stopped": outcome.reason,
    }
