"""The folder of a search: what is where, and who may write to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from latency_db.errors import InputError
from searcher.config import SearchConfig, build_config, differences, read_tables
from searcher.errors import RunFolderError
from searcher.files import write_whole
from searcher.history import EPOCHS, RESULT
from searcher.result import read_object

CONFIG, CHECKPOINT, PARAMETERS = "config.toml", "checkpoint.pt", "parameters.json"
ABOUT = "run.json"
STUDENT, TEACHER, TENSORBOARD, LOCK = "student.json", "teacher.json", "tensorboard", ".lock"


@dataclass(frozen=True)
class About:
    """What is to be known of a run beside its configuration.

    Attributes:
        classes: what its logits stand for, so that it can be read where its data is not.
        latencies: digest of the latencies that it goes by.
        started_at: when its first sitting began; it tells the database that a further one is of the same search.
    """

    classes: tuple[str, ...]
    latencies: str
    started_at: datetime


class RunFolder:
    """Paths in a run's folder.

    Args:
        path: the folder, whether it exists or not.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / CONFIG
        self.checkpoint = self.path / CHECKPOINT
        self.parameters = self.path / PARAMETERS
        self.epochs = self.path / EPOCHS
        self.result = self.path / RESULT
        self.about = self.path / ABOUT
        self.student = self.path / STUDENT
        self.teacher = self.path / TEACHER
        self.tensorboard = self.path / TENSORBOARD

    def read_config(self) -> SearchConfig:
        """The configuration that the search was started with.

        Raises:
            InputError: there is none, or it is no configuration.
        """
        if not self.config.exists():
            raise RunFolderError(
                f"{self.path} is no folder of a search: it has no {CONFIG}",
                hint=f"searcher run --device SLUG --out {self.path} starts one",
            )
        return build_config(read_tables(self.config))

    def check(self, config: SearchConfig, *, resume: bool) -> None:
        """See that a search of this configuration may begin or go on here. Nothing is written.

        Raises:
            RunFolderError: there is something already and it is not to be resumed, or it was started otherwise.
        """
        try:
            # Hidden files are the lock, and what a kill left of a file that was being written.
            occupied = self.path.exists() and any(not path.name.startswith(".") for path in self.path.iterdir())
        except OSError as error:
            raise RunFolderError(f"cannot look into {self.path}: {error.strerror or error}") from None
        if not occupied or (resume and not self._begun):
            return
        if not resume:
            raise RunFolderError(
                f"{self.path} is not empty", hint="--resume goes on with the search in it; or name another --out"
            )
        changed = differences(self.read_config(), config)
        if changed:
            raise RunFolderError(
                f"the search in {self.path} was started with another {', '.join(changed)}",
                hint="resume it as it was, or start another one with another --out",
            )

    def begin(self, config: SearchConfig, classes: tuple[str, ...], latencies: str) -> About:
        """Note what is searched, or see that it is still what was noted when the search began.

        Raises:
            RunFolderError: the data's classes or the device's latencies have changed since.
            InputError: a file cannot be read or written.
        """
        if not self._begun:
            about = About(classes, latencies, datetime.now(UTC))
            self.save_about(about)
            # Last: a folder that has a configuration has everything.
            self.save_config(config)
            return about
        about = self.read_about()
        for changed, what in (
            (about.classes != classes, "the classes of the data"),
            (about.latencies != latencies, "the latencies of the device"),
        ):
            if changed:
                raise RunFolderError(
                    f"{what} have changed since the search in {self.path} began",
                    hint="bring back what there was, or start another one with another --out",
                )
        return about

    @property
    def _begun(self) -> bool:
        """Whether a search was begun here; a kill in the very beginning leaves none, and at most a note about it."""
        try:
            names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        except FileNotFoundError:
            return False
        return bool(names - {ABOUT})

    def save_config(self, config: SearchConfig) -> None:
        """Write the configuration.

        Raises:
            InputError: it cannot be written.
        """
        write_whole(self.config, config.to_toml().encode())

    def save_about(self, about: About) -> None:
        """Note what the configuration does not say.

        Raises:
            InputError: it cannot be written.
        """
        document = {
            "started_at": about.started_at.isoformat(),
            "latencies": about.latencies,
            "classes": list(about.classes),
        }
        write_whole(self.about, f"{json.dumps(document, ensure_ascii=False, indent=2)}\n".encode())

    def read_about(self) -> About:
        """What :meth:`save_about` noted.

        Raises:
            InputError: the file cannot be read, or is none of its files.
        """
        document = read_object(self.about)
        classes = document.get("classes")
        if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
            raise InputError(f"{self.about}: classes are no list of names")
        try:
            started_at = datetime.fromisoformat(str(document.get("started_at")))
        except ValueError as error:
            raise InputError(f"{self.about}: started_at is no moment: {error}") from None
        return About(tuple(classes), str(document.get("latencies")), started_at)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one that searches here.

        Raises:
            RunFolderError: another process does.
        """
        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(f"another process is searching in {self.path}") from None
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror or error}") from None
        try:
            yield
        finally:
            lock.release()
