"""How a run is started from the command line: its settings, its folder, its processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch

from latency_db.errors import InputError
from trainer.runs.folder import CONFIG
from trainer.runs.processes import Processes, processes
from trainer.runs.tables import read_tables


class Start(NamedTuple):
    """What the command line says of a run, whatever the run is of.

    Attributes:
        out: its folder; None: one of its own below ``runs``.
        config_file: TOML file with settings; None: none.
        resume: go on with what is in the folder.
    """

    out: str | None
    config_file: str | None
    resume: bool

    def folder(self, prefix: str = "") -> Path:
        """Where the run is, or is to be.

        Raises:
            InputError: it is to be resumed, but where is not said.
        """
        if self.out is not None:
            return Path(self.out)
        if self.resume:
            raise InputError("--resume goes on with the run in a folder: name it with --out")
        return Path("runs") / f"{prefix}{time.strftime('%Y-%m-%d-%H%M%S')}"

    def layers(self, folder: Path, options: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Settings, later ones winning: those of the run that is resumed, the file's, those of the options.

        Raises:
            InputError: a file cannot be read, or is no TOML.
        """
        kept = folder / CONFIG
        files = [kept] if self.resume and kept.exists() else []
        if self.config_file is not None:
            files.append(Path(self.config_file))
        return [*map(read_tables, files), *options]


@contextmanager
def launched(start: Start, folder: Path, doing: str) -> Iterator[Processes]:
    """The processes of a run, while it runs; the first one says where that is.

    Args:
        start: what the command line says.
        folder: of the run.
        doing: what is going on there, as in "searching".

    Raises:
        InputError: several processes without a folder that they share; or a library could not write a file; or the
            GPU's memory does not suffice.
    """
    with processes() as group:
        if start.out is None and group.count > 1:
            raise InputError("several processes need one folder: name it with --out")
        if group.first:
            again = "" if start.out is not None else f"; --resume --out {folder} goes on after a stop"
            click.echo(f"{doing} in {folder}{again}", err=True)
        try:
            yield group
        except OSError as error:
            # Every file has its own message but those that libraries write.
            raise InputError(
                f"{error.filename or folder}: {error.strerror or error}; the last checkpoint is intact "
                f"(--resume --out {folder} goes on from it)"
            ) from None
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the GPU's memory does not suffice: {str(error).split('. GPU')[0]}; give it less at once, by a "
                "smaller --batch-size or --crop, in a folder of its own"
            ) from None
