"""Figures for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self


class ScalarBoard:
    """Numbers over steps, in a folder that TensorBoard reads. To be used in a ``with``.

    Args:
        folder: where its files are.
        start: the step at which the run goes on; what an earlier sitting noted from there on is withdrawn.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start)

    def add(self, name: str, value: float, step: int) -> None:
        """Note one number."""
        self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Have it on the disk."""
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        except OSError:
            # What ended the run is what is to be said, not that the disk is too full to note it here as well.
            if error is None:
                raise
