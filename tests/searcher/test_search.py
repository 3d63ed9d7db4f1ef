"""A whole search: what it leaves, that it goes on exactly after a kill, and what it says when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from latency_db.keys import ImageSize
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.assembly import make_space
from searcher.cli import main
from searcher.constraint import SteeredMultiplier
from searcher.history import read_epochs, read_result
from searcher.loop import KIND
from searcher.predict_command import predict_command
from searcher.run import run_search
from searcher.run_folder import RunFolder
from tests.searcher.searches import TINY, tiny
from trainer.architecture import Architecture
from trainer.runs.checkpoint import load_checkpoint, save_checkpoint
from trainer.runs.processes import Processes

TIMES = {"seconds"}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of so short a search is its pictures; ``unbroken``, which is made before, draws them."""
    monkeypatch.setattr("searcher.report._drawn", lambda run: ([], "not drawn in this test"))


def searched(folder: Path, resume: bool = False, db: str = "sqlite://", **changes: Any) -> RunFolder:
    run = RunFolder(folder)
    with Store.open(db) as store:
        run_search(tiny(**changes), run, store, Processes(), resume=resume)
    return run


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def found(run: RunFolder) -> dict[str, Any]:
    """Everything that a search leaves, but for how long it took."""
    checkpoint = load_checkpoint(run.checkpoint, KIND)
    return {
        "result": without_times(json.loads(run.result.read_text())),
        "epochs": [without_times(json.loads(line)) for line in run.epochs.read_text().splitlines()],
        "student": run.student.read_text(),
        "teacher": run.teacher.read_text(),
        "parameters": run.parameters.read_text(),
        "weights": {
            name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in checkpoint["supernet"].items()
        },
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return searched(folder, db=str(folder.parent / "search.db"))


def test_a_search_leaves_two_networks_and_a_report(unbroken: RunFolder) -> None:
    result = read_result(unbroken.result)
    page = unbroken.path / "report.html"
    assert page.stat().st_size > 10_000
    for path, derived in ((unbroken.student, result.student), (unbroken.teacher, result.teacher)):
        architecture = Architecture.from_json(json.loads(path.read_text()))
        assert tuple(branch.s for branch in architecture.branches) == derived.branches
        assert architecture.num_classes == 10
    assert {candidate.branches for candidate in result.candidates} == {(8, 16), (8, 32), (16, 32)}
    assert [candidate.role for candidate in result.candidates if candidate.chosen] == ["student", "teacher"]
    assert [record.phase for record in read_epochs(unbroken.epochs)] == ["pretrain", "search", "search"]
    assert list(unbroken.tensorboard.iterdir())


def test_the_reported_latency_is_what_predict_says(unbroken: RunFolder) -> None:
    result = read_result(unbroken.result)
    space = make_space(TINY["space"], 10)
    with Store.open("sqlite://") as store:
        table = LatencyTable.load(device="1080ti", space=space, image="512x1024", store=store, extrapolate=True)
    for path, derived in ((unbroken.student, result.student), (unbroken.teacher, result.teacher)):
        architecture = Architecture.from_json(json.loads(path.read_text()))
        prediction = table.predict(space.decompose(architecture, ImageSize(512, 1024)))
        assert prediction.latency_ms == derived.latency_ms


def test_latency_db_predict_gives_the_reported_latency(unbroken: RunFolder, tmp_path: Path) -> None:
    from latency_db.cli import main as latency_db

    # The very command that the search prints at its end.
    asked = shlex.split(predict_command(unbroken.read_config(), 10, unbroken.student))
    assert asked[0] == "latency-db"
    done = CliRunner().invoke(latency_db, ["--db", str(tmp_path / "empty.db"), *asked[1:], "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["latency_ms"] == read_result(unbroken.result).student.latency_ms


def test_the_search_and_its_networks_are_in_the_database(unbroken: RunFolder) -> None:
    with Store.open(str(unbroken.path.parent / "search.db")) as store:
        (search,) = store.searches()
        derived = store.derived(search.id)
    result = read_result(unbroken.result)
    assert (search.status, search.epochs, search.device, search.seed) == ("completed", 3, "1080ti", 3)
    assert {row.role: row.latency_ms for row in derived} == {
        "student": result.student.latency_ms,
        "teacher": result.teacher.latency_ms,
    }


@pytest.mark.slow
def test_the_same_seed_gives_the_same_search(unbroken: RunFolder, tmp_path: Path) -> None:
    assert found(searched(tmp_path / "again")) == found(unbroken)


class Killed(BaseException):
    """Stands for a kill: nothing in the search may catch it."""


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(7, marks=pytest.mark.slow)])
def test_a_search_that_stops_anywhere_goes_on_exactly(
    unbroken: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Stopped in pretraining, at an epoch's end, in the search; with a checkpoint after every step."""
    from searcher import loop

    original = loop.Search._step

    def stopping(self: loop.Search, *given: Any) -> None:
        if self.state.number == step:
            raise Killed
        original(self, *given)

    often = {"run": {"checkpoint_minutes": 1e-9}}
    with monkeypatch.context() as patched:
        patched.setattr(loop.Search, "_step", stopping)
        with pytest.raises(Killed):
            searched(tmp_path / "run", **often)
    assert found(searched(tmp_path / "run", resume=True, **often)) == found(unbroken)


@pytest.mark.slow
def test_a_kill_between_the_epochs_note_and_its_checkpoint_is_mended(
    unbroken: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searcher import loop

    original = loop.Search._save

    def stopping(self: loop.Search) -> None:
        if self.state.epoch == 2:
            raise Killed
        original(self)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Search, "_save", stopping)
        with pytest.raises(Killed):
            searched(tmp_path / "run")
    assert len(read_epochs(RunFolder(tmp_path / "run").epochs)) == 2
    assert found(searched(tmp_path / "run", resume=True)) == found(unbroken)


def test_a_kill_in_the_very_beginning_leaves_nothing_in_the_way(unbroken: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(unbroken.about, folder)
    (folder / ".config.toml.x1").write_text("half a")
    assert found(searched(folder, resume=True)) == found(unbroken)


def test_resuming_what_is_finished_changes_nothing(unbroken: RunFolder, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(unbroken.path, tmp_path / "run"))
    assert found(searched(copy, resume=True)) == found(unbroken)


def config_file(folder: Path, **changes: Any) -> Path:
    path = folder / "search.toml"
    path.write_text(tiny(**changes).to_toml())
    return path


def command(folder: Path, *more: str, **changes: Any) -> list[str]:
    config = str(config_file(folder, **changes))
    return ["--db", str(folder / "search.db"), "run", "--config", config, "--out", str(folder / "run"), *more]


@pytest.mark.slow
@pytest.mark.alone
def test_a_killed_process_goes_on_with_the_same_command(unbroken: RunFolder, tmp_path: Path) -> None:
    start = [sys.executable, "-m", "searcher", *command(tmp_path, "--resume")]
    process = subprocess.Popen(start, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    epochs = tmp_path / "run" / "epochs.jsonl"
    deadline = time.monotonic() + 120
    while not (epochs.exists() and epochs.read_bytes().count(b"\n")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "result.json").exists()
    done = subprocess.run(start, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert found(RunFolder(tmp_path / "run")) == found(unbroken)


@pytest.mark.slow
@pytest.mark.alone
def test_two_processes_search_together(tmp_path: Path) -> None:
    arguments = command(tmp_path, data={"count": 22}, schedule={"batch_size": 1})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "searcher", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("student:") == 1
    records = read_epochs(tmp_path / "run" / "epochs.jsonl")
    assert len(records) == 3
    # Two processes with batches of 1 are one process with batches of 2, but for what each norm sees.
    alone = searched(tmp_path / "alone", data={"count": 22})
    assert records[0].weight_loss == pytest.approx(read_epochs(alone.epochs)[0].weight_loss, rel=0.2)


def say(folder: Path, *more: str, **changes: Any) -> Result:
    return CliRunner().invoke(main, command(folder, *more, **changes))


def one_line(result: Result) -> str:
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return lines[0]


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: RunFolder
) -> None:
    from searcher import loop

    original = loop.Search._there

    def broken(self: loop.Search, batch: Any) -> Any:
        there = original(self, batch)
        return there._replace(image=there.image * float("nan")) if self.state.number == 4 else there

    with monkeypatch.context() as patched:
        patched.setattr(loop.Search, "_there", broken)
        line = one_line(say(tmp_path))
    assert "the loss of the weights is no number in step 1 of epoch 1" in line
    assert "checkpoint.pt" in line
    with Store.open(str(tmp_path / "search.db")) as store:
        assert [search.status for search in store.searches()] == ["failed"]
    # The checkpoint is from before it, and intact: without the broken batch the search ends as if nothing had been.
    assert found(searched(tmp_path / "run", resume=True)) == found(unbroken)


def test_a_device_without_a_table_ends_in_one_line(tmp_path: Path) -> None:
    line = one_line(say(tmp_path, "--device", "nobody"))
    assert "nobody" in line
    assert "latency-db profile" in line
    assert not (tmp_path / "run" / "config.toml").exists()


def images(folder: Path, count: int) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "classes.txt").write_text("ground\nsky\n")
    for index in range(count):
        Image.new("RGB", (128, 64), (index, 0, 0)).save(folder / "images" / f"{index}.png")
        Image.new("L", (128, 64), index % 2).save(folder / "masks" / f"{index}.png")
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_lacks_a_label_ends_in_one_line(tmp_path: Path, workers: int) -> None:
    data = images(tmp_path / "data", 13)
    (data / "masks" / "5.png").unlink()
    tables = {"dataset": "folder", "folder": str(data), "split": "all", "workers": workers}
    assert "5.png" in one_line(say(tmp_path, data=tables))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_label_of_no_class_ends_in_one_line_and_goes_on_once_it_is_mended(tmp_path: Path, workers: int) -> None:
    data = images(tmp_path / "data", 13)
    for index in range(13):
        Image.new("L", (128, 64), 7).save(data / "masks" / f"{index}.png")
    tables = {"data": {"dataset": "folder", "folder": str(data), "split": "all", "workers": workers}}
    line = one_line(say(tmp_path, **tables))
    assert "7" in line
    for index in range(13):
        Image.new("L", (128, 64), index % 2).save(data / "masks" / f"{index}.png")
    done = say(tmp_path, "--resume", **tables)
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_a_full_disk_ends_in_one_line_with_the_last_checkpoint_intact(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that is full."""
    arguments = command(tmp_path)
    assert say(tmp_path).exit_code == 0
    run = RunFolder(tmp_path / "run")
    before = run.checkpoint.read_bytes()
    run.result.unlink()
    text = run.config.read_text().replace("search_epochs = 2", "search_epochs = 3")
    run.config.write_text(text)
    (tmp_path / "search.toml").write_text(text)
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) - 1000},) * 2); "
        "from searcher.cli import main; main(prog_name='searcher')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *arguments, "--resume"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert "cannot write" in line
    assert "intact" in line
    assert "Traceback" not in done.stderr
    assert run.checkpoint.read_bytes() == before
    assert say(tmp_path, "--resume", schedule={"search_epochs": 3}).exit_code == 0
    assert len(read_epochs(run.epochs)) == 4


def test_a_folder_that_is_taken_is_left_alone(unbroken: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(unbroken.path, tmp_path / "run")
    assert "--resume" in one_line(say(tmp_path))
    assert "run.seed" in one_line(say(tmp_path, "--resume", "--seed", "4"))
    assert found(RunFolder(tmp_path / "run")) == found(unbroken)


def test_other_latencies_or_classes_are_not_gone_on_with(unbroken: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(unbroken.path, tmp_path / "run"))
    about = run.read_about()
    run.save_about(replace(about, latencies="of another table"))
    assert "latencies of the device have changed" in one_line(say(tmp_path, "--resume"))
    run.save_about(replace(about, classes=tuple(reversed(about.classes))))
    assert "classes of the data have changed" in one_line(say(tmp_path, "--resume"))


def test_a_search_of_other_processes_is_not_gone_on_with(unbroken: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(unbroken.path, tmp_path / "run"))
    kept = load_checkpoint(run.checkpoint, KIND)
    save_checkpoint(run.checkpoint, KIND, {**kept, "processes": 2})
    assert "2 processes" in one_line(say(tmp_path, "--resume"))


def test_two_searches_do_not_share_a_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run").lock():
        assert "another process" in one_line(say(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_checkpoint_ends_in_one_line(unbroken: RunFolder, tmp_path: Path, damage: str) -> None:
    run = RunFolder(shutil.copytree(unbroken.path, tmp_path / "run"))
    if damage == "cut":
        run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:5000])
    else:
        torch.save({"format": "something else"}, run.checkpoint)
    assert "checkpoint.pt" in one_line(say(tmp_path, "--resume"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--weights", "often"], "neither"),
        (["--weights", "1,2"], "three numbers"),
        (["--batch-size", "0"], "schedule.batch_size"),
        (["--space-setting", "num_classes=3"], "num_classes"),
        (["--space-setting", "colour=3"], "colour"),
        (["--count", "2"], "too few"),
        (["--crop", "64x64", "--batch-size", "1"], "larger crop or batch"),
        (["--target-ms", "-1"], "latency.target_ms"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path, options: list[str], expected: str) -> None:
    done = say(tmp_path, *options)
    assert done.exit_code != 0
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error")]) == 1
    assert expected in done.stderr


def test_derive_gives_the_networks_of_the_run_again(unbroken: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(unbroken.path, tmp_path / "run"))
    from searcher.finish import derive_run

    run.result.unlink()
    run.student.unlink()
    with Store.open("sqlite://") as store:
        derive_run(run.path, store)
    assert run.student.read_text() == unbroken.student.read_text()
    again, before = read_result(run.result), read_result(unbroken.result)
    assert again.student.latency_ms == before.student.latency_ms
    assert again.candidates == before.candidates


def test_a_target_is_hit(tmp_path: Path, unbroken: RunFolder) -> None:
    """Far from what this short search would find by itself."""
    target_ms = 1.25 * read_result(unbroken.result).student.latency_ms
    run = searched(tmp_path / "run", latency={"target_ms": target_ms})
    student = read_result(run.result).student
    assert student.latency_ms == pytest.approx(target_ms, rel=0.05)
    assert (student.how == "band") == bool(student.note)


def test_a_target_steers_the_search_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step of the architecture, what would be derived now sets what a millisecond costs in the next one.

    Where so short a search ends depends on the last bits of the CPU's arithmetic, so what is held is each step of the
    way; that latency gives way to the cost is a test of the step itself.
    """
    seen: list[list[float]] = []
    observe = SteeredMultiplier.observe

    def noted(term: SteeredMultiplier, derived_ms: Sequence[float]) -> None:
        seen.append(list(derived_ms))
        observe(term, derived_ms)

    monkeypatch.setattr(SteeredMultiplier, "observe", noted)
    target_ms = 0.3
    run = searched(tmp_path / "run", latency={"target_ms": target_ms, "tolerance": 0.9})
    searching = [record for record in read_epochs(run.epochs) if record.phase == "search"]
    steps, rest = divmod(len(seen), len(searching))
    assert steps > 0 and rest == 0

    again = SteeredMultiplier(target_ms)
    for epoch, record in enumerate(searching):
        for derived_ms in seen[steps * epoch : steps * (epoch + 1)]:
            again.observe(derived_ms)
        assert record.lambda_ == again.per_ms != 0
        last = seen[steps * (epoch + 1) - 1]
        # Before the first validation all sets of branches count, then the best one alone.
        assert last == list(record.derived_latency_ms.values()) if epoch == 0 else len(last) == 1
        assert set(last) <= set(record.derived_latency_ms.values())


def test_a_target_out_of_reach_ends_in_one_line(tmp_path: Path) -> None:
    line = one_line(say(tmp_path, "--target-ms", "500"))
    assert "500 ms" in line
    assert "target within the range" in line
    # Before anything is searched.
    assert not (tmp_path / "run" / "config.toml").exists()
