"""The page of a search says what came of it later, from the files that the other programs leave."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from latency_db.errors import InputError
from searcher import further
from searcher.cli import main
from tests.searcher.search_runs import write_run
from trainer.training.folder import TrainFolder
from trainer.training.result import TrainingResult


def training(folder: Path) -> Path:
    """As `trainer train --teacher NETWORK` leaves it, as far as the page reads it."""
    for path, name, teacher, miou in ((folder, "student", "teacher", 0.512), (folder / "teacher", "big", None, 0.634)):
        run = TrainFolder(path)
        run.path.mkdir(parents=True, exist_ok=True)
        TrainingResult(
            network=name,
            teacher=teacher,
            dataset="camvid",
            miou=miou,
            iou={"road": miou, "car": None},
            validation_images=101,
            epochs=30,
            seconds=600,
        ).save(run.result)
        run.curves.write_bytes(b"\x89PNG curves")
    return folder


def bench(path: Path, **changes: object) -> Path:
    document = {"image_size": "256x512", "predicted_ms": 4.1, "measured_ms": 4.0, "error": 0.025, "fps": 250.0}
    path.write_text(json.dumps({**document, **changes}))
    return path


def test_every_later_file_has_its_section(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (tmp_path / "grid.png").write_bytes(b"\x89PNG grid")
    validation = tmp_path / "validation"
    validation.mkdir()
    figures = {"networks": 20, "pearson": 0.9951, "mape": 0.0123, "bias": -0.004, "within_5": 1.0}
    (validation / "report.json").write_text(json.dumps(figures))
    (validation / "validation.png").write_bytes(b"\x89PNG validation")
    options = {
        "--trained": training(tmp_path / "training"),
        "--seen": tmp_path / "grid.png",
        "--measured": bench(tmp_path / "bench.json"),
        "--validated": validation,
        "--output": tmp_path / "page.html",
    }
    done = CliRunner().invoke(main, ["report", str(run), *(str(part) for pair in options.items() for part in pair)])
    assert done.exit_code == 0, done.output
    page = " ".join((tmp_path / "page.html").read_text().split())
    for text in (
        "51.2%",
        "63.4%",
        "4.100",
        "4.000",
        "+2.50%",
        "250.0",
        "0.9951",
        "1.23%",
        "networks are not trained here",
    ):
        assert text in page, text
    # Two curves, the grid and the validation.
    for content in (b"\x89PNG curves", b"\x89PNG grid", b"\x89PNG validation"):
        assert base64.b64encode(content).decode() in page


def test_a_network_without_a_prediction_has_a_dash(tmp_path: Path) -> None:
    section = further.measured(bench(tmp_path / "bench.json", predicted_ms=None, error=None))
    assert section.rows == [["256x512", "–", "4.000", "–", "250.0"]]


def test_a_training_that_has_not_ended_is_said(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*result.json"):
        further.trained(tmp_path / "training")


def test_a_document_of_something_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("{}")
    with pytest.raises(InputError, match="predicted_ms"):
        further.measured(tmp_path / "bench.json")
