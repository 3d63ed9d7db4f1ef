"""The folder of a run: who may write to it, and what it was started with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Generic

from filelock import FileLock, Timeout

from trainer.runs.errors import RunFolderError
from trainer.runs.files import write_whole
from trainer.runs.tables import Config, differences

CONFIG, CHECKPOINT, TENSORBOARD, LOCK = "config.toml", "checkpoint.pt", "tensorboard", ".lock"


class Folder(ABC, Generic[Config]):
    """Paths in a run's folder, and the rules for beginning and going on.

    Args:
        path: the folder, whether it exists or not.

    Attributes:
        run: what kind of run it is of, as in "a search".
        start_hint: how one is started; ``{path}`` stands for the folder.
        may_differ: settings, as (table, name), that a resumed run may set otherwise.
        beforehand: files that may be there before the run has begun.
    """

    run: ClassVar[str]
    start_hint: ClassVar[str]
    may_differ: ClassVar[Collection[tuple[str, str]]]
    beforehand: ClassVar[Collection[str]] = ()

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / CONFIG
        self.checkpoint = self.path / CHECKPOINT
        self.tensorboard = self.path / TENSORBOARD

    @abstractmethod
    def parse_config(self) -> Config:
        """What the file of settings says, checked."""

    def read_config(self) -> Config:
        """The configuration that the run was started with.

        Raises:
            InputError: there is none, or it is no configuration.
        """
        if not self.config.exists():
            raise RunFolderError(
                f"{self.path} is no folder of {self.run}: it has no {CONFIG}",
                hint=self.start_hint.format(path=self.path),
            )
        return self.parse_config()

    def save_config(self, config: Config) -> None:
        """Write the configuration.

        Raises:
            InputError: it cannot be written.
        """
        write_whole(self.config, config.to_toml().encode())

    def check(self, config: Config, *, resume: bool) -> None:
        """See that a run of this configuration may begin or go on here. Nothing is written.

        Raises:
            RunFolderError: there is something already and it is not to be resumed, or it was started otherwise.
        """
        try:
            # Hidden files are the lock, and what a kill left of a file that was being written.
            occupied = self.path.exists() and any(not path.name.startswith(".") for path in self.path.iterdir())
        except OSError as error:
            raise RunFolderError(f"cannot look into {self.path}: {error.strerror or error}") from None
        if not occupied or (resume and not self.begun):
            return
        if not resume:
            raise RunFolderError(
                f"{self.path} is not empty",
                hint=f"--resume goes on with {self._the_run} in it; or name another --out",
            )
        changed = differences(self.read_config(), config, self.may_differ)
        if changed:
            raise RunFolderError(
                f"{self._the_run} in {self.path} was started with another {', '.join(changed)}",
                hint="resume it as it was, or start another one with another --out",
            )

    @property
    def _the_run(self) -> str:
        return "the " + self.run.split(maxsplit=1)[1]

    @property
    def begun(self) -> bool:
        """Whether a run was begun here; a kill in the very beginning leaves none."""
        try:
            names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        except FileNotFoundError:
            return False
        return bool(names - set(self.beforehand))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one that runs here.

        Raises:
            RunFolderError: another process does.
        """
        lock = FileLock(self.path / LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(f"another process is at work in {self.path}") from None
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror or error}") from None
        try:
            yield
        finally:
            lock.release()
