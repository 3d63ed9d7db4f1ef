"""Folders of searches as ``searcher run`` leaves them, without searching."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path

from latency_db.keys import ImageSize
from searcher.config import SearchConfig, build_config
from searcher.history import (
    EPOCHS,
    RESULT,
    Branches,
    Candidate,
    Derived,
    EpochRecord,
    SearchedData,
    SearchResult,
    append_epoch,
    write_result,
)
from searcher.run_folder import About, RunFolder
from trainer.architecture import Architecture, Branch, Cell

BRANCH_SETS: tuple[Branches, ...] = ((8, 16), (8, 32), (16, 32))
OPERATORS = ("skip", "conv", "conv_x2", "zoomed_conv", "zoomed_conv_x2")


def epoch_record(
    epoch: int, *, pretrain: int = 2, collapse: bool = False, latency_ms: float = 20.0, validated: bool = True
) -> EpochRecord:
    """An epoch of a search whose student becomes faster, and better unless it collapses."""
    rng = random.Random(epoch)
    searching = epoch >= pretrain
    progress = 1 - math.exp(-max(0, epoch - pretrain + 1) / 8)
    learned = 1 - math.exp(-(epoch + 1) / 6)
    fall = (0.75 if collapse else 0.4) * progress
    student = latency_ms * (1 - fall)
    level = 0.55 * learned * (1 - (0.7 * progress if collapse else 0)) + rng.uniform(-0.01, 0.01)
    skip = 0.2 + (0.6 if collapse else 0.05) * progress
    rest = {name: 1 + index * progress for index, name in enumerate(OPERATORS[1:])}
    shares = {"skip": skip, **{name: (1 - skip) * value / sum(rest.values()) for name, value in rest.items()}}
    widths = {
        chi: math.exp(-progress * index * (0.6 if collapse else 0.2)) for index, chi in enumerate((4, 6, 8, 10, 12))
    }
    at = {branches: max(0.0, level + 0.01 * index) for index, branches in enumerate(BRANCH_SETS)}
    return EpochRecord(
        epoch=epoch,
        phase="search" if searching else "pretrain",
        seconds=61.5,
        learning_rate=0.02 * 0.99**epoch,
        weight_loss=2.5 - 1.5 * learned,
        architecture_loss=2.4 - 1.3 * learned if searching else None,
        lambda_=0.01 if searching else None,
        latency_ms={"student": student, "teacher": latency_ms * 1.3},
        derived_latency_ms={branches: student * (0.8 + 0.1 * index) for index, branches in enumerate(BRANCH_SETS)},
        miou={"student": at, "teacher": {branches: value + 0.03 for branches, value in at.items()}}
        if validated
        else None,
        operators={"student": shares, "teacher": dict.fromkeys(OPERATORS, 0.2)},
        widths={chi: value / sum(widths.values()) for chi, value in widths.items()},
        downsample={"student": 0.5 - 0.1 * progress, "teacher": 0.5},
    )


def search_result(**changes: object) -> SearchResult:
    """A result whose student was moved into the band around its target."""
    derived = {
        "branches": (16, 32),
        "latency_ms": 8.1,
        "how": "band",
        "argmax_latency_ms": 9.2,
        "note": "3 cells changed",
        "file": "student.json",
        "miou": 0.5,
    }
    values: dict[str, object] = {
        "device": "1080ti",
        "target": "1080ti trt 5.1.5 fp32",
        "image_size": ImageSize(1024, 2048),
        "batch": 1,
        "target_ms": 8.3,
        "tolerance": 0.05,
        "weights": (0.001, 0.997, 0.002),
        "weights_rule": "paper",
        "student": Derived(**derived),
        "teacher": Derived(
            **{
                **derived,
                "how": "argmax",
                "latency_ms": 20.0,
                "argmax_latency_ms": 20.0,
                "note": "",
                "file": "teacher.json",
            }
        ),
        "candidates": tuple(
            Candidate(
                role=role,
                branches=branches,
                miou=0.45 + 0.02 * index,
                latency_ms=(8.1 if role == "student" else 20.0) + (2 - index),
                score=0.45 + 0.018 * index,
                chosen=branches == (16, 32),
            )
            for role in ("student", "teacher")
            for index, branches in enumerate(BRANCH_SETS)
        ),
        "seconds": 5400.0,
        "seed": 3,
        "dataset": SearchedData(name="streets", classes=("road", "sky")),
    }
    return SearchResult(**{**values, **changes})


def write_epochs(folder: Path, epochs: int, *, every: int = 1, **options: object) -> None:
    """``epochs.jsonl``, validated every so often."""
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs):
        append_epoch(folder / EPOCHS, epoch_record(epoch, validated=epoch % every == 0, **options))


def architecture(*finals: int) -> Architecture:
    """A small network whose branches end at these scales."""
    branches = []
    for final in finals:
        cells, s, layer = [], 8, 0
        while s < final:
            cells.append(Cell(layer=layer, s=s, stride=2, op="conv", chi=4))
            s, layer = 2 * s, layer + 1
        # A layer of its own for the last cell of each branch: they share nothing that differs.
        cells.append(Cell(layer=layer, s=s, stride=1, op="zoomed_conv", chi=None))
        branches.append(Branch(cells=tuple(cells)))
    return Architecture(branches=tuple(branches), num_classes=2)


def search_config(**latency: object) -> SearchConfig:
    """The configuration of :func:`search_result`."""
    return build_config(
        {
            "latency": {"device": "1080ti", "target_ms": 8.3, "weights": "paper", **latency},
            "data": {"dataset": "streets", "folder": "/data/streets"},
            "schedule": {"pretrain_epochs": 2, "search_epochs": 10},
            "run": {"seed": 3},
        }
    )


def write_run(
    folder: Path,
    *,
    epochs: int = 12,
    finished: bool = True,
    result: dict[str, object] | None = None,
    config: SearchConfig | None = None,
    **options: object,
) -> Path:
    """A whole folder."""
    write_epochs(folder, epochs, **options)
    run = RunFolder(folder)
    run.save_config(config or search_config())
    run.save_about(About(("road", "sky"), "digest", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)))
    if finished:
        found = search_result(**(result or {}))
        write_result(folder / RESULT, found)
        for derived in (found.student, found.teacher):
            (folder / derived.file).write_text(json.dumps(architecture(*derived.branches).to_json()))
    return folder
