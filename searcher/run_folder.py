"""The folder of a search: what is where, and who may write to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from latency_db.errors import InputError
from searcher.config import SearchConfig, build_config
from searcher.history import EPOCHS, RESULT
from trainer.runs.errors import RunFolderError
from trainer.runs.files import read_object, write_whole
from trainer.runs.folder import Folder
from trainer.runs.tables import RESUMABLE, read_tables

ABOUT, PARAMETERS, STUDENT, TEACHER = "run.json", "parameters.json", "student.json", "teacher.json"


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


class RunFolder(Folder[SearchConfig]):
    """Paths in a search's folder.

    Args:
        path: the folder, whether it exists or not.
    """

    run = "a search"
    start_hint = "searcher run --device SLUG --out {path} starts one"
    may_differ = RESUMABLE
    beforehand = (ABOUT,)

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.parameters = self.path / PARAMETERS
        self.epochs = self.path / EPOCHS
        self.result = self.path / RESULT
        self.about = self.path / ABOUT
        self.student = self.path / STUDENT
        self.teacher = self.path / TEACHER

    def parse_config(self) -> SearchConfig:
        """What the file of settings says, checked."""
        return build_config(read_tables(self.config))

    def begin(self, config: SearchConfig, classes: tuple[str, ...], latencies: str) -> About:
        """Note what is searched, or see that it is still what was noted when the search began.

        Raises:
            RunFolderError: the data's classes or the device's latencies have changed since.
            InputError: a file cannot be read or written.
        """
        if not self.begun:
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
