"""An NVIDIA GPU's clocks, locked while something is measured and put back whatever ends it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from backends import clock_guard, nvml
from backends.errors import BackendError
from backends.protocol import Backend, Target

LOCKED_CLOCK = "locked_clock_mhz"
"""The setting of a target whose GPU's clock was locked."""
DEFAULT: Literal["default"] = "default"
Wanted = int | Literal["default"]
"""A graphics clock in MHz, or the GPU's default applications clock."""
_GUARD_S = 30.0


class ClockError(BackendError):
    """The GPU's clocks cannot be locked, or could not be put back."""


def at_clock(target: Target, mhz: int | None) -> Target:
    """The target with its GPU's clock locked, another one than without; the same where it is not locked.

    A setting and not a part of the fingerprint: it was chosen, and whoever lists targets has to see it.
    """
    return target if mhz is None else replace(target, settings={**target.settings, LOCKED_CLOCK: mhz})


def lockable_mhz(backend: Backend, wanted: Wanted) -> int:
    """The graphics clock to lock, in MHz: of those that the GPU has. Nothing is changed yet.

    By default it is what NVML calls the GPU's default applications clock. That need not be the card's base clock, and
    a load that is heavy enough can still bring the GPU below it: the observer flags such visits as throttled.

    Raises:
        RuntimeMissingError: there is no GPU, or no NVML.
        ClockError: the backend runs on no NVIDIA GPU, or that has no such clock, or is a part of a GPU.
    """
    if not backend.on_nvidia_gpu:
        raise ClockError(
            f"--lock-clocks is for NVIDIA GPUs: backend {backend.name!r} does not run on one here", hint="leave it out"
        )
    with nvml.opened() as (api, gpu):
        if _answer(api, "nvmlDeviceIsMigDeviceHandle", gpu):
            raise ClockError("clocks cannot be locked: this is a part of a GPU (MIG), whose clocks are the whole GPU's")
        supported = _supported_mhz(api, gpu)
        if wanted == DEFAULT:
            found = _answer(api, "nvmlDeviceGetDefaultApplicationsClock", gpu, api.NVML_CLOCK_GRAPHICS)
            if not found:
                some = f"one from {supported[0]} to {supported[-1]} MHz" if supported else "one"
                raise ClockError(
                    "this GPU does not tell its default applications clock", hint=f"choose {some}: --lock-clocks MHZ"
                )
            return int(found)
        if supported and wanted not in supported:
            below = [mhz for mhz in supported if mhz < wanted][-1:]
            above = [mhz for mhz in supported if mhz > wanted][:1]
            near = " and ".join(map(str, [*below, *above]))
            raise ClockError(f"this GPU has no graphics clock of {wanted} MHz", hint=f"the nearest are {near}")
        return wanted


@contextmanager
def locked(mhz: int) -> Iterator[None]:
    """The GPU's graphics clock at this frequency as long as the block goes on.

    A process of its own locks it and waits for this one to end: it resets the clocks after SIGKILL, too. What an
    administrator had locked before is not known to NVML, so that is reset as well.

    Raises:
        RuntimeMissingError: there is no GPU, or no NVML.
        ClockError: this user may not lock clocks, another process has them locked, or they could not be put back.
    """
    with nvml.opened() as (api, gpu):
        uuid = nvml.uuid_of(api, gpu)
    guard = _start(uuid, mhz)
    try:
        yield
    finally:
        _end(guard, uuid)


def _start(uuid: str, mhz: int) -> subprocess.Popen[str]:
    # -P: the folder of this file has modules that are named like others' packages.
    command = [sys.executable, "-P", str(Path(clock_guard.__file__)), uuid, str(mhz)]
    paths = os.pathsep.join(path for path in sys.path if path)
    guard = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Where this process finds the bindings, that one does.
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
    assert guard.stdout is not None
    try:
        answer, _, said = guard.stdout.readline().strip().partition(" ")
    except BaseException:
        _let_go(guard)
        raise
    if answer == "locked":
        return guard
    _let_go(guard)
    if answer == "forbidden":
        raise ClockError(
            f"locking the GPU's clocks needs root: {said}", hint=f"sudo --preserve-env {shlex.join(sys.argv)}"
        )
    if answer == "busy":
        raise ClockError("another process holds this GPU's clocks locked", hint="try again when it has ended")
    raise ClockError(f"the GPU's clocks cannot be locked at {mhz} MHz: {said or 'the guard did not start'}")


def _end(guard: subprocess.Popen[str], uuid: str) -> None:
    """Let the guard reset the clocks; where it is gone, reset them here."""
    if _let_go(guard) == 0:
        return
    try:
        with nvml.opened() as (api, _):
            api.nvmlDeviceResetGpuLockedClocks(api.nvmlDeviceGetHandleByUUID(uuid))
    except BackendError as error:
        raise ClockError(
            f"the GPU's clocks were not put back: {error.message}", hint=f"sudo nvidia-smi -i {uuid} --reset-gpu-clocks"
        ) from error


def _let_go(guard: subprocess.Popen[str]) -> int:
    """Close the pipe that the guard waits at, and wait for its end; returns its exit code."""
    try:
        guard.communicate(timeout=_GUARD_S)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.communicate()
    return guard.returncode


def _supported_mhz(api: Any, gpu: Any) -> list[int]:
    """Every graphics clock at the highest memory clock, ascending; none where NVML does not list them."""
    memory = _answer(api, "nvmlDeviceGetSupportedMemoryClocks", gpu)
    found = _answer(api, "nvmlDeviceGetSupportedGraphicsClocks", gpu, max(memory)) if memory else None
    return sorted(int(mhz) for mhz in found or ())


def _answer(api: Any, function: str, *arguments: object) -> Any:
    """What NVML answers; None where this GPU has nothing to answer."""
    try:
        return getattr(api, function)(*arguments)
    except api.NVMLError:
        return None
