"""Does decoupling the latency keep a search from collapsing? The experiment of Figure 4 on CamVid, in small.

Three settings, the same in all but the weights of Eq. 3: (a) plain latency, (b) the weights of the paper, (c) weights
that balance this very table. Each with several seeds; each is a run in a folder that goes on where it was when the
script is called again. Searches see the training images alone; the figures at the end are of the validation images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _common import publish, spread

from latency_db.store import Store
from searcher.assembly import Assembly, assemble
from searcher.config import SearchConfig, build_config
from searcher.discrete import draw_of
from searcher.history import ROLES, EpochRecord, branches_name, read_epochs, read_result
from searcher.loop import KIND
from searcher.result import SearchResult
from searcher.run import run_search
from searcher.run_folder import RunFolder
from searcher.tracks import Track, render_collapse
from searcher.validate import validate
from trainer.architecture import Architecture
from trainer.data import loader, open_dataset
from trainer.runs.checkpoint import load_checkpoint
from trainer.runs.processes import Processes

SETTINGS = {"undecoupled": "none", "paper": "paper", "balanced": "balanced"}
SIZE, CROP = (180, 240), (96, 128)
CALIBRATION = 8


def configuration(weights: str, seed: int, options: argparse.Namespace) -> SearchConfig:
    """One search: the same but for its weights and its seed."""
    return build_config(
        {
            "latency": {
                "device": options.device,
                "image_size": options.image_size,
                "weights": weights,
                "factor": options.factor,
            },
            "space": {"layers": 8, "chis": [4, 6, 8], "head_chi": 4, "stem_widths": [8, 16, 32]},
            "data": {
                "dataset": "camvid",
                "folder": str(options.data),
                "size": list(SIZE),
                "crop": list(CROP),
                "workers": options.workers,
            },
            "schedule": {
                "pretrain_epochs": options.pretrain_epochs,
                "search_epochs": options.search_epochs,
                "batch_size": 8,
                "learning_rate": 0.05,
                "architecture_learning_rate": options.architecture_learning_rate,
            },
            "run": {"seed": seed, "threads": options.threads, "torch_device": options.torch_device},
        }
    )


def judged(assembly: Assembly, folder: RunFolder, result: SearchResult, data: Path) -> dict[str, dict[str, float]]:
    """mIoU on the validation images: of the supernet as it stands with the branches it chose, and as derived."""
    kept = load_checkpoint(folder.checkpoint, KIND, assembly.device)
    assembly.search.supernet.load_state_dict(kept["supernet"])
    assembly.search.parameters.load_state_dict(kept["parameters"])
    images = loader(open_dataset("camvid", data, "val", size=SIZE), 8, training=False, workers=0)
    found = {}
    for role, path, derived in (
        ("student", folder.student, result.student),
        ("teacher", folder.teacher, result.teacher),
    ):
        architecture = Architecture.from_json(json.loads(path.read_text(encoding="utf-8")))
        branches = derived.branches
        draws = {
            "supernet": assembly.search.expected(role),
            "derived": draw_of(architecture, assembly.space.lattice).to(assembly.device),
        }
        found[role] = {
            name: validate(
                assembly.search,
                draw,
                images,
                calibration=assembly.data.calibration(CALIBRATION),
                branch_sets=(branches,),
            )[branches]
            for name, draw in draws.items()
        }
    return found


def summary(
    setting: str,
    seed: int,
    epochs: list[EpochRecord],
    result: SearchResult,
    final: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """What is said of one run."""
    searched = [one for one in epochs if one.phase == "search"]
    first, last = searched[0], searched[-1]
    return {
        "setting": setting,
        "seed": seed,
        "weights": result.weights,
        "branches": branches_name(result.student.branches),
        "student_derived_ms": result.student.latency_ms,
        "student_expected_ms": {"first": first.latency_ms["student"], "last": last.latency_ms["student"]},
        "teacher_derived_ms": result.teacher.latency_ms,
        "skip_share": {role: last.operators[role]["skip"] for role in ROLES},
        "narrowest_share": last.widths[min(last.widths)],
        "miou_val": final,
        "seconds": result.seconds,
    }


def main() -> None:
    """Search, judge, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CamVid: train/, trainannot/, val/, valannot/")
    parser.add_argument("--runs", type=Path, default=Path("runs/collapse"), help="where the runs are")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=sorted(SETTINGS), help="search this setting alone, and judge nothing")
    parser.add_argument("--device", default="1080ti")
    parser.add_argument("--image-size", default="1024x2048")
    parser.add_argument("--factor", type=float, default=1.0, help="λ per ms")
    parser.add_argument("--pretrain-epochs", type=int, default=3)
    parser.add_argument("--search-epochs", type=int, default=6)
    parser.add_argument("--architecture-learning-rate", type=float, default=0.03)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument(
        "--db", default="sqlite://", help="where the device's latencies are; a shipped model by default"
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    tracks: list[Track] = []
    found: list[dict[str, Any]] = []
    with Store.open(options.db) as store:
        for seed in range(options.seeds):
            for setting, weights in SETTINGS.items():
                if options.only not in (None, setting):
                    continue
                config = configuration(weights, seed, options)
                folder = RunFolder(options.runs / f"{setting}-{seed}")
                run_search(config, folder, store, Processes(), resume=True)
                if options.only is not None:
                    continue
                result, epochs = read_result(folder.result), read_epochs(folder.epochs)
                assembly = assemble(config, store, Processes())
                final = judged(assembly, folder, result, options.data)
                found.append(summary(setting, seed, epochs, result, final))
                tracks.append(Track(f"{setting}, seed {seed}", tuple(epochs)))
    if options.only is not None:
        return
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_bytes(render_collapse(tracks))
    by_setting = {
        setting: {
            "student_derived_ms": spread([run["student_derived_ms"] for run in found if run["setting"] == setting]),
            "supernet_miou": spread(
                [run["miou_val"]["student"]["supernet"] for run in found if run["setting"] == setting]
            ),
            "derived_miou": spread(
                [run["miou_val"]["student"]["derived"] for run in found if run["setting"] == setting]
            ),
        }
        for setting in SETTINGS
    }
    # Where things lie is of no concern to who reads the figures.
    places = ("data", "runs", "output", "picture", "only")
    shown = {name: value for name, value in vars(options).items() if name not in places}
    publish({"options": shown, "runs": found, "settings": by_setting}, options.output)


if __name__ == "__main__":
    main()
