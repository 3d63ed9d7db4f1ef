"""A whole training: what it leaves, that it goes on exactly after a kill, and what it says when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import nn

from latency_db.errors import InputError
from tests.trainer.training.trainings import TINY, Own, killed_after, left, tiny, trained, write_architecture
from trainer.accuracy import measure_accuracy
from trainer.cli import main
from trainer.data import Batch, loader, open_dataset
from trainer.evaluate import evaluate
from trainer.networks import find_network
from trainer.runs.checkpoint import load_checkpoint
from trainer.runs.processes import Processes
from trainer.trained import load_trained
from trainer.training.assembly import assemble
from trainer.training.folder import TrainFolder
from trainer.training.loop import KIND
from trainer.training.objective import Objective, Terms
from trainer.training.record import read_epochs
from trainer.training.result import read_result

OWN = "tests.trainer.training.trainings:Own"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_architecture(tmp_path_factory.mktemp("net") / "student.json")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, student: Path) -> TrainFolder:
    folder = tmp_path_factory.mktemp("teacher")
    return trained(folder / "run", str(write_architecture(folder / "teacher.json", chi=4)), loss={"auxiliary": 1.0})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, student: Path, teacher: TrainFolder) -> TrainFolder:
    return taught(tmp_path_factory.mktemp("unbroken") / "run", student, teacher)


def taught(folder: Path, student: Path, teacher: TrainFolder, resume: bool = False) -> TrainFolder:
    return trained(folder, str(student), resume=resume, teacher={"model": str(teacher.path)})


def test_a_training_leaves_a_network_that_is_as_good_as_it_says(unbroken: TrainFolder) -> None:
    found = load_trained(unbroken.path)
    images = open_dataset("synthetic", None, "val", size=(64, 128), count=2)
    again = measure_accuracy(found.module, loader(images, 2, training=False, workers=0), 10)
    result = read_result(unbroken.result)
    assert result.miou == pytest.approx(again.value(), abs=1e-12)
    assert list(result.iou) == list(images.classes)
    assert result.teacher == "run"
    assert unbroken.curves.read_bytes()[:4] == b"\x89PNG"
    assert list(unbroken.tensorboard.iterdir())
    assert not any(name.startswith("auxiliary") for name in found.module.state_dict())


def test_the_last_epoch_s_accuracy_is_the_result_s(unbroken: TrainFolder) -> None:
    assert read_epochs(unbroken.epochs)[-1].miou == read_result(unbroken.result).miou


def test_each_part_of_the_loss_is_noted(unbroken: TrainFolder, teacher: TrainFolder) -> None:
    for record in read_epochs(unbroken.epochs):
        assert record.auxiliary is None and record.distillation is not None
        assert record.loss == pytest.approx(record.segmentation + record.distillation)
    for record in read_epochs(teacher.epochs):
        assert record.distillation is None and record.auxiliary is not None
        assert record.loss == pytest.approx(record.segmentation + record.auxiliary)


@pytest.mark.parametrize("step", [1, 3, 4, 6])
def test_a_training_that_stops_anywhere_goes_on_exactly(
    unbroken: TrainFolder, student: Path, teacher: TrainFolder, tmp_path: Path, step: int
) -> None:
    with killed_after(step):
        taught(tmp_path / "run", student, teacher)
    assert left(taught(tmp_path / "run", student, teacher, resume=True)) == left(unbroken)


def test_what_drops_out_is_the_same_after_a_kill(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", OWN)
    with killed_after(2):
        trained(tmp_path / "run", OWN)
    torch.manual_seed(99)
    assert left(trained(tmp_path / "run", OWN, resume=True)) == left(whole)


def test_an_ended_training_is_not_done_again(unbroken: TrainFolder, student: Path, teacher: TrainFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in (unbroken.model, unbroken.result, unbroken.checkpoint)}
    taught(unbroken.path, student, teacher, resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_average_is_of_all_steps() -> None:
    """One weight, known gradients: w falls by η a step, and the average follows by its decay."""
    config = tiny(OWN, schedule={"ema": 0.5})
    assembly = assemble(config, Processes())
    assert assembly.averaged is not None
    weight = assembly.network.layer.bias
    first = weight.detach().clone()
    assembly.averaged.update_parameters(assembly.network)
    with torch.no_grad():
        weight += 1.0
    assembly.averaged.update_parameters(assembly.network)
    assert torch.allclose(assembly.judged.layer.bias, first + 0.5)


def test_the_objective_adds_its_parts() -> None:
    class Aux(nn.Module):
        auxiliary_weights = (0.25, 0.5)

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)
            self.auxiliary_heads = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.layer(image)

        def with_auxiliary(self, image: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            logits = self.layer(image)
            return logits, tuple(head(logits) for head in self.auxiliary_heads)

    torch.manual_seed(0)
    network, teacher = Aux(), nn.Conv2d(3, 4, 1)
    batch = Batch(torch.randn(2, 3, 8, 8), torch.randint(0, 4, (2, 8, 8)))
    config = tiny(OWN, loss={"auxiliary": 0.4, "distillation": 2.0}).loss
    terms = Objective(network, config, teacher)(batch)
    assert isinstance(terms, Terms)
    assert terms.auxiliary is not None and terms.distillation is not None
    logits, others = network.with_auxiliary(batch.image)
    criterion = Objective(network, config, teacher).criterion
    expected = 0.25 * criterion(others[0], batch.label) + 0.5 * criterion(others[1], batch.label)
    assert torch.isclose(terms.auxiliary, expected)
    assert torch.isclose(terms.segmentation, criterion(logits, batch.label))
    assert torch.isclose(terms.total, terms.segmentation + 0.4 * terms.auxiliary + 2 * terms.distillation)


# What goes wrong.


def say(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


def one_line(result: Result) -> str:
    assert result.exit_code != 0, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith(("training in", "epoch"))]
    assert lines and lines[0].startswith("Error: "), result.stderr
    assert len(lines) <= 2, result.stderr  # The error, and at most a hint.
    return " ".join(lines)


def quick(*more: str) -> list[str]:
    return [
        *("--size", "64x128", "--crop", "64x64", "--count", "4", "--validation-count", "2", "--workers", "0"),
        *("--epochs", "1", "--batch-size", "2", "--threads", "1"),
        *more,
    ]


def test_the_command_trains_and_says_how_well(student: Path, tmp_path: Path) -> None:
    done = say(str(student), *quick("--out", str(tmp_path / "run")))
    assert done.exit_code == 0, done.output
    result = read_result(tmp_path / "run" / "result.json")
    assert f"student: mIoU {result.miou:.2%} on 2 images of synthetic" in done.stdout
    assert "is not empty" in one_line(say(str(student), *quick("--out", str(tmp_path / "run"))))


def test_a_truncated_checkpoint_is_one_line(unbroken: TrainFolder, student: Path, teacher: TrainFolder) -> None:
    run = TrainFolder(unbroken.path.with_name("cut"))
    run.path.mkdir()
    for name in ("config.toml", "run.json", "epochs.jsonl"):
        (run.path / name).write_bytes((unbroken.path / name).read_bytes())
    run.checkpoint.write_bytes(unbroken.checkpoint.read_bytes()[:5000])
    assert "is damaged" in one_line(say("--resume", "--out", str(run.path)))
    assert run.checkpoint.stat().st_size == 5000


def test_a_truncated_teacher_is_one_line(teacher: TrainFolder, student: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(teacher.model.read_bytes()[:5000])
    arguments = quick("--teacher", str(tmp_path / "model.pt"), "--out", str(tmp_path / "run"))
    assert "is damaged" in one_line(say(str(student), *arguments))
    assert not (tmp_path / "run" / "config.toml").exists()


def labelled(folder: Path, classes: tuple[str, ...] | None, largest: int) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 255, (64, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / split / f"{index}.png")
            label = rng.integers(0, largest + 1, (64, 128), dtype=np.uint8)
            Image.fromarray(label).save(folder / "masks" / split / f"{index}.png")
    if classes is not None:
        (folder / "classes.txt").write_text("\n".join(classes) + "\n")
    return folder


def own_data(folder: Path) -> list[str]:
    return quick("--dataset", "folder", "--data", str(folder))


def test_a_folder_of_images_and_masks_trains(tmp_path: Path, student: Path) -> None:
    data = labelled(tmp_path / "data", ("sky", "ground"), 1)
    done = say(str(student), *own_data(data), "--out", str(tmp_path / "run"), "--size", "80x96")
    assert done.exit_code == 0, done.output
    found = load_trained(tmp_path / "run")
    assert found.classes == ("sky", "ground")
    # What `trainer eval` says: labels are judged at their own 64x128, whatever the images are brought to.
    judged = evaluate(found, open_dataset("folder", data, "val", count=2), size=(80, 96))
    result = read_result(tmp_path / "run" / "result.json")
    assert result.miou == judged.miou and dict(result.iou) == judged.iou


def test_a_label_out_of_range_is_one_line(tmp_path: Path, student: Path) -> None:
    data = labelled(tmp_path / "data", ("sky", "ground"), 5)
    said = one_line(say(str(student), *own_data(data), "--out", str(tmp_path / "run")))
    assert ".png" in said and "class indices 0 to 1" in said


def test_a_missing_class_list_is_one_line(tmp_path: Path, student: Path) -> None:
    said = one_line(say(str(student), *own_data(labelled(tmp_path / "data", None, 1)), "--out", str(tmp_path / "run")))
    assert "classes" in said
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_teacher_of_other_classes_is_one_line(tmp_path: Path, student: Path, teacher: TrainFolder) -> None:
    data = labelled(tmp_path / "data", ("sky", "ground"), 1)
    arguments = [*own_data(data), "--teacher", str(teacher.path), "--out", str(tmp_path / "run")]
    said = one_line(say(str(student), *arguments))
    assert "10 classes" in said and "2 classes (sky, ground)" in said


def test_a_loss_that_is_no_number_ends_the_training_with_its_checkpoint(tmp_path: Path, student: Path) -> None:
    arguments = quick("--learning-rate", "1e30", "--out", str(tmp_path / "run"), "--epochs", "4")
    assert "diverged" in one_line(say(str(student), *arguments))
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt", KIND)


def test_a_network_without_auxiliary_heads_says_so(tmp_path: Path) -> None:
    said = one_line(say(OWN, *quick("--auxiliary", "1", "--out", str(tmp_path / "run"))))
    assert "has no auxiliary heads" in said


def test_a_changed_network_is_not_gone_on_with(tmp_path: Path) -> None:
    file = write_architecture(tmp_path / "net.json")
    say(str(file), *quick("--out", str(tmp_path / "run")))
    write_architecture(file, chi=3)
    assert "the network changed" in one_line(say("--resume", "--out", str(tmp_path / "run")))


def test_other_settings_are_named(tmp_path: Path, student: Path) -> None:
    say(str(student), *quick("--out", str(tmp_path / "run")))
    said = one_line(say("--resume", "--out", str(tmp_path / "run"), "--seed", "7", "--learning-rate", "0.5"))
    assert "run.seed" in said and "schedule.learning_rate" in said


def test_a_module_of_one_s_own_is_not_imported_because_a_file_says_so(tmp_path: Path) -> None:
    done = say(OWN, *quick("--out", str(tmp_path / "run")))
    assert done.exit_code == 0, done.output
    with pytest.raises(InputError, match="--network tests"):
        load_trained(tmp_path / "run")
    assert isinstance(load_trained(tmp_path / "run", network=find_network(OWN)).module, Own)


@pytest.mark.parametrize("named", ["nosuch", "no.such.module:Net", "trainer.networks:NoSuch", "builtins:range"])
def test_a_network_that_is_none_is_one_line(named: str, tmp_path: Path) -> None:
    said = one_line(say(named, *quick("--out", str(tmp_path / "run"))))
    assert named.split(":")[0] in said


def resumed_with_files_of_at_most(size: int, run: TrainFolder) -> str:
    """What a training says that goes on while a limit on the size of files stands for a disk that is full."""
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size},) * 2); "
        "from trainer.cli import main; main(prog_name='trainer')"
    )
    command = [sys.executable, "-c", code, "train", "--resume", "--out", str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("Error: "))


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_and_the_last_model(tmp_path: Path, student: Path) -> None:
    whole = left(trained(tmp_path / "whole", str(student)))
    run = trained(tmp_path / "run", str(student), schedule={"epochs": 1})
    # As if it had been one of two epochs, and been stopped after the first.
    run.result.unlink()
    run.config.write_text(run.config.read_text().replace("epochs = 1", "epochs = 2"))
    before = run.checkpoint.read_bytes()
    said = resumed_with_files_of_at_most(len(before) - 1000, run)
    assert f"cannot write {run.checkpoint}" in said and "the last checkpoint is intact" in said
    assert run.checkpoint.read_bytes() == before
    # With room again it goes on.
    assert say("--resume", "--out", str(run.path)).exit_code == 0
    assert left(run) == whole
    # As if it had been stopped in its very end: the checkpoint is there, the network is to be kept.
    run.result.unlink()
    before = run.model.read_bytes()
    said = resumed_with_files_of_at_most(len(before) - 1000, run)
    assert f"cannot write {run.model}" in said
    assert run.model.read_bytes() == before and not run.result.exists()
    assert say("--resume", "--out", str(run.path)).exit_code == 0
    assert left(run) == whole


def test_a_gpu_without_enough_memory_is_one_line(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 11 GiB")

    monkeypatch.setattr("trainer.training.loop.Training.run", full)
    done = say(str(student), "--out", str(tmp_path / "run"))
    (line,) = [said for said in done.stderr.splitlines() if said.startswith("Error")]
    assert done.exit_code == 1
    assert "CUDA out of memory. Tried to allocate 2.00 GiB; give it less at once" in line


@pytest.mark.alone
def test_two_processes_train_one_network(tmp_path: Path, student: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "trainer"),
        *("train", str(student), *quick("--out", str(tmp_path / "run"), "--teacher", str(student))),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    result = read_result(tmp_path / "run" / "result.json")
    found = load_trained(tmp_path / "run")
    images = open_dataset("synthetic", None, "val", size=(64, 128), count=2)
    again = measure_accuracy(found.module, loader(images, 2, training=False, workers=0), 10)
    assert result.miou == pytest.approx(again.value(), abs=1e-9)


def test_settings_survive_the_file(unbroken: TrainFolder, student: Path, teacher: TrainFolder) -> None:
    assert unbroken.read_config() == tiny(str(student), teacher={"model": str(teacher.path)})
    assert TINY["schedule"]["epochs"] == unbroken.read_config().schedule.epochs


MODULE = "tests.trainer.training.trainings"


def test_a_module_of_one_s_own_keeps_its_heads(tmp_path: Path) -> None:
    own = f"{MODULE}:OwnWithHeads"
    done = say(own, *quick("--auxiliary", "1", "--out", str(tmp_path / "run")))
    assert done.exit_code == 0, done.output
    module = load_trained(tmp_path / "run", own=(own,)).module
    assert "auxiliary_heads.0.weight" in module.state_dict()


@pytest.mark.parametrize(
    ("network", "options", "expected"),
    [
        (f"{MODULE}:too_few", [], r"logits of shape .* not \(2, 10, h, w\)"),
        (f"{MODULE}:nothing", [], "has no attribute 'nothing'"),
        ("enet", ["--auxiliary", "1"], "without auxiliary losses"),
        ("fast-scnn", ["--batch-size", "1", "--crop", "64x128"], "Expected more than 1 value per channel"),
    ],
)
def test_a_student_that_cannot_be_trained_shows_before_its_teacher_is(
    network: str, options: list[str], expected: str, tmp_path: Path
) -> None:
    said = one_line(say(network, *quick("--out", str(tmp_path / "run"), "--teacher", OWN, *options)))
    assert re.search(expected, said), said
    assert not (tmp_path / "run" / "teacher" / "config.toml").exists()


def test_a_file_of_another_network_is_not_taken_for_the_one_that_is_meant(tmp_path: Path) -> None:
    done = say("fast-scnn", *quick("--out", str(tmp_path / "run")))
    assert done.exit_code == 0, done.output
    with pytest.raises(InputError, match="is of the network fast-scnn, not of enet"):
        load_trained(tmp_path / "run", network=find_network("enet"))


def test_compiling_leaves_out_auxiliary_heads_and_says_so(tmp_path: Path, student: Path) -> None:
    arguments = quick("--compile", "--auxiliary", "1", "--out", str(tmp_path / "run"))
    assert "run.compile" in one_line(say(str(student), *arguments))


def test_labels_without_any_class_are_no_accuracy(tmp_path: Path, student: Path) -> None:
    data = labelled(tmp_path / "data", ("sky", "ground"), 1)
    for path in (data / "masks" / "val").iterdir():
        Image.new("L", (128, 64), 255).save(path)
    assert "no pixel of the split val" in one_line(say(str(student), *own_data(data), "--out", str(tmp_path / "run")))
