"""The folder of a training: what is where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trainer.networks import NetworkSpec
from trainer.runs.errors import RunFolderError
from trainer.runs.files import read_object, write_whole
from trainer.runs.folder import Folder
from trainer.runs.tables import read_tables
from trainer.trained import MODEL
from trainer.training.config import MAY_DIFFER, TrainConfig, build_config
from trainer.training.record import EPOCHS

ABOUT, RESULT, CURVES, TEACHER = "run.json", "result.json", "curves.png", "teacher"


class TrainFolder(Folder[TrainConfig]):
    """Paths in a training's folder.

    Args:
        path: the folder, whether it exists or not.
    """

    run = "a training"
    start_hint = "trainer train NETWORK --out {path} starts one"
    may_differ = MAY_DIFFER
    beforehand = (ABOUT, TEACHER)

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.about = self.path / ABOUT
        self.epochs = self.path / EPOCHS
        self.result = self.path / RESULT
        self.model = self.path / MODEL
        self.curves = self.path / CURVES
        self.teacher = self.path / TEACHER

    def parse_config(self) -> TrainConfig:
        """What the file of settings says, checked."""
        return build_config(read_tables(self.config))

    def begin(self, config: TrainConfig, network: NetworkSpec, classes: Sequence[str]) -> None:
        """Note what is trained, or see that it is still what was noted when the training began.

        Raises:
            RunFolderError: the network or the data's classes have changed since.
            InputError: a file cannot be read or written.
        """
        about = {"network": network.to_json(), "classes": list(classes)}
        if not self.begun:
            write_whole(self.about, f"{json.dumps(about, ensure_ascii=False, indent=2)}\n".encode())
            # Last: a folder that has a configuration has everything.
            self.save_config(config)
            return
        kept = read_object(self.about)
        for key, what in (("network", "the network"), ("classes", "the classes of the data")):
            # Through JSON, as what is kept has been.
            if kept.get(key) != json.loads(json.dumps(about[key])):
                raise RunFolderError(
                    f"{what} changed after the training in {self.path} began",
                    hint="bring back what there was, or start another one with another --out",
                )
