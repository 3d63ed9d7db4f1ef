"""The target of whatever runs on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping

from backends import environment
from backends.protocol import SettingValue, Target


def cpu_target(
    device: str | None,
    *,
    backend: str,
    runtime: str,
    runtime_version: str,
    precision: str,
    settings: Mapping[str, SettingValue],
) -> Target:
    """This machine's CPU under a runtime and settings.

    Args:
        device: the slug to file it under; named after the CPU where none is given.
        backend, runtime, runtime_version, precision, settings: as ``Target`` has them.
    """
    env = environment.describe()
    model = str(env["cpu_model"])
    return Target(
        device=device or environment.device_slug(model, int(env["cpu_count"])),
        device_name=model,
        backend=backend,
        runtime=runtime,
        runtime_version=runtime_version,
        precision=precision,
        settings=dict(settings),
        fingerprint=environment.fingerprint(env),
        environment=env,
    )
