"""A search's folder, read: at any time of the search, whether it is finished or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latency_db.errors import InputError
from searcher.config import SearchConfig
from searcher.history import EpochRecord, read_epochs
from searcher.result import SearchResult, read_result
from searcher.run_folder import About, RunFolder
from searcher.tracks import Track
from trainer.architecture import Architecture, ArchitectureError
from trainer.runs.files import cannot, read_object


@dataclass(frozen=True)
class PastRun:
    """What is in the folder.

    Attributes:
        folder: its paths.
        config: what it was started with.
        about: what else was noted when it began; None where that is missing.
        epochs: those that are finished.
        result: what it found; None where it is not finished.
    """

    folder: RunFolder
    config: SearchConfig
    about: About | None
    epochs: tuple[EpochRecord, ...]
    result: SearchResult | None

    @property
    def label(self) -> str:
        """How people tell it from others: the folder's name."""
        return self.folder.path.resolve().name or str(self.folder.path)

    @property
    def device(self) -> str:
        """The device's slug; while it is not finished, what it was asked for by, which may be a target's key."""
        return self.result.device if self.result else self.config.latency.device

    @property
    def target_ms(self) -> float | None:
        """Latency asked of the student."""
        return self.config.latency.target_ms

    @property
    def seconds(self) -> float:
        """That it took so far, over all its sittings."""
        if self.result is not None and self.finished:
            return self.result.seconds
        return sum(record.seconds for record in self.epochs)

    @property
    def finished(self) -> bool:
        """Whether the search is at its end; networks can be derived before."""
        return self.result is not None and len(self.epochs) >= self.config.schedule.epochs

    @property
    def weights(self) -> str:
        """Of Eq. 3, for people: the rule, with the values where they are known."""
        if self.result is None:
            rule = self.config.latency.weights
            return rule if isinstance(rule, str) else _numbers(rule)
        if self.result.weights is None:
            return "none"
        values = _numbers(self.result.weights)
        return values if self.result.weights_rule == "given" else f"{self.result.weights_rule} ({values})"

    def track(self) -> Track:
        """For the picture of accuracy against latency."""
        return Track(self.label, self.epochs, self.target_ms)

    def architecture(self, file: str) -> Architecture:
        """One of the networks that it found.

        Raises:
            InputError: the file cannot be read, or holds none.
        """
        path = self.folder.path / file
        try:
            return Architecture.from_json(read_object(path))
        except ArchitectureError as error:
            raise InputError(f"{path}: {error}") from None


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def read_run(path: Path) -> PastRun:
    """The search in a folder.

    Raises:
        InputError: the folder is of no search, or what file of it cannot be read, and why.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    try:
        about = folder.read_about() if folder.about.exists() else None
        finished = folder.result.exists()
    except OSError as error:
        raise cannot("look into", path, error) from None
    return PastRun(
        folder=folder,
        config=config,
        about=about,
        epochs=tuple(read_epochs(folder.epochs)),
        result=read_result(folder.result) if finished else None,
    )
