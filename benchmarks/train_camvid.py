"""Training on CamVid, one short schedule for all: the FasterSeg student with and without a teacher, and its rivals.

Each training is a run in a folder that goes on where it was when the script is called again; --only trains some of
them, for instance in a process beside this one, and judges nothing. Networks learn from the training images and are
judged on the validation images. The paper prints no teacher: ``camvid_teacher.json``, beside this file, is one that

    searcher run --device 1080ti --dataset camvid --data DIR --size 180x240 --crop 96x128 --count 200 --batch-size 4 \\
        --pretrain-epochs 1 --search-epochs 2 --workers 0

derived: a short search, 66 steps of weights and 44 of the architecture, of the whole space.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import publish, spread

from latency_db.keys import ImageSize
from trainer.cost import count_cost
from trainer.runs.processes import Processes
from trainer.trained import load_trained
from trainer.training.config import TrainConfig, build_config
from trainer.training.curves import render_curves
from trainer.training.folder import TrainFolder
from trainer.training.record import read_epochs
from trainer.training.result import read_result
from trainer.training.run import run_training

STUDENT = "fasterseg-student"


@dataclass(frozen=True)
class Entry:
    """One training: what, by whom it is taught, from which seed."""

    what: str
    network: str
    seed: int
    taught: bool = False

    @property
    def folder(self) -> str:
        """Its name among the runs."""
        return f"{self.what}-{self.seed}"


def entries(options: argparse.Namespace) -> Iterator[Entry]:
    """In the order in which they are trained: the teacher first, then a seed of everything, then the next."""
    if options.teacher is not None:
        yield Entry("teacher", options.teacher, 0)
    for seed in range(options.seeds):
        yield Entry("student", STUDENT, seed)
        if options.teacher is not None:
            yield Entry("student-distilled", STUDENT, seed, taught=True)
        if seed < options.zoo_seeds:
            yield from (Entry(Path(name).stem, name, seed) for name in options.zoo)


def configuration(entry: Entry, options: argparse.Namespace) -> TrainConfig:
    """The same for all but for the network, the teacher and the seed."""
    height, width = options.size.height, options.size.width
    return build_config(
        {
            "network": {"name": entry.network},
            "data": {
                "dataset": "camvid",
                "folder": str(options.data),
                "size": [height, width],
                "crop": [options.crop.height, options.crop.width],
                "workers": options.workers,
            },
            "schedule": {
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "learning_rate": options.learning_rate,
                "decay": "polynomial",
                "ema": options.ema,
                "validate_every": options.validate_every,
            },
            "teacher": {"model": str(options.runs / "teacher-0")} if entry.taught else {},
            "run": {
                "seed": entry.seed,
                "threads": options.threads,
                "precision": options.precision,
                "torch_device": options.torch_device,
            },
        }
    )


def summary(entry: Entry, folder: TrainFolder, image: ImageSize) -> dict[str, Any]:
    """What is said of one training."""
    result, epochs = read_result(folder.result), read_epochs(folder.epochs)
    cost = count_cost(load_trained(folder.path).module, (image.height, image.width))
    return {
        "what": entry.what,
        "seed": entry.seed,
        "miou": result.miou,
        "iou": dict(result.iou),
        "parameters_m": cost.parameters / 1e6,
        "gmacs": cost.macs / 1e9,
        "minutes": result.seconds / 60,
        "curve": [{"epoch": one.epoch + 1, "loss": one.segmentation, "miou": one.miou} for one in epochs],
    }


def main() -> None:
    """Train, judge, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CamVid: train/, trainannot/, val/, valannot/")
    parser.add_argument("--runs", type=Path, default=Path("runs/camvid"), help="where the runs are")
    parser.add_argument("--teacher", help="architecture of the teacher: the JSON file that a search left")
    parser.add_argument(
        "--zoo", nargs="*", default=["fast-scnn", "bisenet-x39"], help="networks to compare with, by name or file"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of the student")
    parser.add_argument("--zoo-seeds", type=int, default=1, help="of each network of --zoo")
    parser.add_argument("--only", nargs="*", help="train these alone, as in student-0; judge nothing")
    parser.add_argument("--size", type=ImageSize.parse, default="180x240")
    parser.add_argument("--crop", type=ImageSize.parse, default="160x208")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--ema", type=float, default=0.98)
    parser.add_argument("--validate-every", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    wanted = list(entries(options))
    unknown = set(options.only or ()) - {entry.folder for entry in wanted}
    if unknown:
        parser.error(f"--only {' '.join(sorted(unknown))}: there are {', '.join(entry.folder for entry in wanted)}")
    for entry in wanted:
        if options.only is None or entry.folder in options.only:
            run_training(
                configuration(entry, options), TrainFolder(options.runs / entry.folder), Processes(), resume=True
            )
    if options.only is not None:
        return
    folders = {entry: TrainFolder(options.runs / entry.folder) for entry in wanted}
    found = [summary(entry, folder, options.size) for entry, folder in folders.items()]
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        curves = {entry.folder: read_epochs(folder.epochs) for entry, folder in folders.items() if entry.seed == 0}
        options.picture.write_bytes(render_curves(curves))
    names = list(dict.fromkeys(entry.what for entry in wanted))
    shown = vars(options) | {"size": str(options.size), "crop": str(options.crop)}
    for name in ("data", "runs", "output", "picture", "only", "teacher"):
        shown.pop(name)
    publish(
        {
            "options": shown,
            "runs": found,
            "networks": {
                name: {"miou": spread([run["miou"] for run in found if run["what"] == name])} for name in names
            },
        },
        options.output,
    )


if __name__ == "__main__":
    main()
