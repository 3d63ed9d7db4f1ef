"""Which backends there are: entry points of the group ``latency_db.backends``, our own and anyone's.

Listing names reads package metadata only. A backend's module is imported when it is asked for by name, and its
runtime when the backend first needs it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from backends.building import Buildable
from backends.compiling import first_line
from backends.errors import BackendError, BackendNotFoundError, RuntimeMissingError
from backends.protocol import Availability, Backend

GROUP = "latency_db.backends"


def names() -> list[str]:
    """The registered names, sorted. Imports nothing."""
    return sorted(_entries())


def get(name: str) -> type[Backend]:
    """The backend class of that name.

    Raises:
        BackendNotFoundError: no such name is registered.
        RuntimeMissingError: the distribution that registers it cannot be imported.
        BackendError: what is registered under the name is no backend of that name, or two distributions claim it.
    """
    entries = _entries()
    if name not in entries:
        known = ", ".join(sorted(entries))
        raise BackendNotFoundError(
            f"there is no backend {name!r}; registered are: {known or 'none'}",
            hint=None if known else "install this project: pip install -e .",
        )
    return _load(_single(name, entries[name]))


def create(name: str, **settings: object) -> Backend:
    """A backend, ready to compile.

    Raises:
        RuntimeMissingError: what it runs on is not installed or not usable here.
        InvalidSettingError: it does not take these settings.
        BackendError: see ``get``.
    """
    cls = get(name)
    _require(name, _told(name, cls.availability), "run")
    return cls(**settings)


def create_builder(name: str, **settings: object) -> Buildable:
    """A backend, ready to compile for devices that are not here.

    Raises:
        RuntimeMissingError: what it compiles with is not installed or not usable here.
        InvalidSettingError: it does not take these settings.
        BackendError: it compiles for no other device than the one it runs on; or see ``get``.
    """
    cls = get(name)
    if not issubclass(cls, Buildable):
        raise BackendError(f"backend {name!r} cannot build without running: it has no build-only mode")
    _require(name, _told(name, cls.build_availability), "build")
    return cls(**settings)


def _told(name: str, availability: Callable[[], Availability]) -> Availability:
    """What a backend says of itself.

    Raises:
        RuntimeMissingError: it raises something where it should say it.
    """
    try:
        return availability()
    except BackendError:
        raise
    except Exception as error:  # A stranger's code, as in _load: one that breaks this rule must not hide the others.
        owner = _owner(_single(name, _entries()[name]))
        raise RuntimeMissingError(
            f"backend {name!r} of {owner} cannot say whether it runs here: {first_line(error)}",
            hint=f"repair or uninstall it: pip install --force-reinstall {owner}",
        ) from error


def _require(name: str, here: Availability, what: str) -> None:
    if not here.available:
        reason = here.reason or f"{here.runtime} is not installed"
        raise RuntimeMissingError(f"backend {name!r} cannot {what} here: {reason}", hint=here.install)


def availability() -> dict[str, Availability]:
    """Of every registered backend, whether it can run here. Never raises for one that cannot."""
    found: dict[str, Availability] = {}
    for name in names():
        try:
            found[name] = _told(name, get(name).availability)
        except BackendError as error:
            found[name] = Availability(available=False, runtime="unknown", reason=error.message, install=error.hint)
    return found


def _entries() -> dict[str, list[EntryPoint]]:
    """By name, the entry points that claim it: one, unless two distributions quarrel."""
    entries: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=GROUP):
        if all(entry.value != other.value for other in entries[entry.name]):
            entries[entry.name].append(entry)
    return dict(entries)


def _single(name: str, claims: list[EntryPoint]) -> EntryPoint:
    if len(claims) > 1:
        owners = " and ".join(sorted(f"{_owner(claim)} ({claim.value})" for claim in claims))
        raise BackendError(f"backend {name!r} is claimed by {owners}", hint="uninstall one of them")
    return claims[0]


def _load(entry: EntryPoint) -> type[Backend]:
    owner = _owner(entry)
    try:
        loaded = entry.load()
    except Exception as error:  # A stranger's module runs here: it may fail in any way, and must not take others along.
        raise RuntimeMissingError(
            f"backend {entry.name!r} of {owner} cannot be imported: {first_line(error)}",
            hint=f"repair or uninstall it: pip install --force-reinstall {owner}",
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        raise BackendError(f"backend {entry.name!r} of {owner}: {entry.value} is not a subclass of Backend")
    if loaded.name != entry.name:
        raise BackendError(f"backend {entry.name!r} of {owner} calls itself {loaded.name!r}: the names must agree")
    return loaded


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module
