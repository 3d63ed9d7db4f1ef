"""What machine this is: described in full for people, hashed in part for the identity of a target."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import psutil

from backends.protocol import SettingValue

# What makes two machines the same machine for latency. Load, free memory, the kernel's build and the version of
# Python are described but left out: they change under a machine's feet without making it another one.
IDENTITY = ("cpu_model", "cpu_flags_hash", "cpu_count", "arch", "os", "gpu")

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_PRODUCT = Path("/sys/class/dmi/id/product_name")
_SLUG_NOISE = re.compile(r"\((?:r|tm|c)\)|\bcpu\b|@.*$|\d+-core|\d+(?:st|nd|rd|th) gen", re.IGNORECASE)
_CPU_VENDORS = {"intel", "amd", "apple", "ampere", "arm"}
_GPU_NOISE = re.compile(r"\b(?:nvidia|geforce|gtx|rtx|tesla|quadro|graphics|gpu|hbm\w*|\d+gb)\b", re.IGNORECASE)


def describe() -> dict[str, SettingValue]:
    """This machine as it is now: what can be seen without privileges, nothing made up for what cannot."""
    model, flags = _cpu()
    found: dict[str, SettingValue | None] = {
        "cpu_model": model,
        "cpu_flags_hash": _short_hash(" ".join(sorted(flags))) if flags else None,
        "cpu_count": os.cpu_count() or 1,
        "cpu_usable": _usable_cpus(),
        "arch": platform.machine(),
        "os": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "virtualization": _virtualization(flags),
        "governor": _read_line(_GOVERNOR),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def fingerprint(env: Mapping[str, SettingValue]) -> str:
    """A short hash over the parts of an environment that make it the same machine for latency.

    A backend on a GPU adds ``gpu`` to what ``describe`` found; it then takes part.
    """
    return _short_hash("\x1f".join(f"{key}={env[key]}" for key in IDENTITY if key in env))


def device_slug(cpu_model: str, cores: int) -> str:
    """A short name to file this CPU under, such as ``cpu-epyc-7b13-8c``."""
    words = re.findall(r"[a-z0-9]+", _SLUG_NOISE.sub(" ", cpu_model).lower())
    named = [word for word in words if word not in _CPU_VENDORS or word == "apple"]
    return "-".join(["cpu", *(named or ["unknown"]), f"{cores}c"])


def gpu_slug(gpu_name: str) -> str:
    """A short name to file this GPU under: ``NVIDIA GeForce GTX 1080 Ti`` is ``1080ti``."""
    words = re.findall(r"[a-z0-9]+", _GPU_NOISE.sub(" ", gpu_name).lower())
    return re.sub(r"-(ti|super)\b", r"\1", "-".join(words)) or "gpu"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cpu() -> tuple[str, frozenset[str]]:
    """The CPU's model name and feature flags, from /proc where there is one."""
    model = flags = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "cpu model") and not model:
            model = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = value.strip()
    return model or platform.processor() or platform.machine() or "unknown", frozenset(flags.split())


def _usable_cpus() -> int:
    """How many CPUs this process may run on: fewer than there are, under taskset or a container's cpuset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _virtualization(flags: frozenset[str]) -> str | None:
    """The hypervisor's or container's trace, or None where there is none to be seen."""
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "container"
    if "hypervisor" in flags:
        return _read_line(_PRODUCT) or "hypervisor"
    return None


def _read_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
