"""Accuracy on a data set against counting by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.errors import InputError
from tests.trainer.painted import FACTORY, blocks, nearest_colour, paint, save, trained
from trainer.cli import main
from trainer.data import DataError, open_dataset
from trainer.data.dataset import normalise
from trainer.evaluate import evaluate
from trainer.trained import Trained

CLASSES = ("floor", "wall", "lamp")
UNSEEN = (*CLASSES, "door")


def write(folder: Path, seen: list[np.ndarray], labels: list[np.ndarray], classes: tuple[str, ...] = CLASSES) -> Path:
    """A data set of images that the painted network sees ``seen`` in, and of these labels."""
    for part in ("images", "masks"):
        (folder / part / "val").mkdir(parents=True)
    for index, (one, label) in enumerate(zip(seen, labels, strict=True)):
        paint(one, len(classes)).save(folder / "images" / "val" / f"{index}.png")
        Image.fromarray(label).save(folder / "masks" / "val" / f"{index}.png")
    (folder / "classes.txt").write_text("\n".join(classes), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of 64 × 64. In the first, half of class 0 is void; in the second, a quarter is taken for class 1."""
    first_seen, first = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    first_seen[32:], first[:32] = 1, 0
    first[32:] = 255
    second_seen, second = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    second_seen[:16] = 1
    second[48:], second_seen[48:] = 2, 2
    return write(tmp_path / "data", [first_seen, second_seen], [first, second], UNSEEN)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["eval", *arguments], catch_exceptions=False)


def test_pixels_of_the_whole_set_are_counted_and_those_without_a_class_are_not(folder: Path) -> None:
    found = evaluate(trained(UNSEEN), open_dataset("folder", folder, "val"))
    # Rows of 64 pixels. Class 0: labelled in 32 + 48, seen in 32 + 32 of them. Class 1: seen in 16, labelled nowhere.
    expected = {"floor": 64 / 80, "wall": 0 / 16, "lamp": 16 / 16, "door": None}
    assert dict(found.iou) == expected
    assert found.miou == pytest.approx((0.8 + 0 + 1) / 3)
    assert (found.images, found.counted, found.image_size) == (2, 3, (64, 64))


def test_the_network_stays_in_the_mode_in_which_it_was(folder: Path) -> None:
    one = trained(UNSEEN)
    evaluate(one, open_dataset("folder", folder, "val"))
    assert not one.module.training


def test_batches_and_workers_change_nothing(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "val")
    told: list[int] = []
    alone = evaluate(trained(UNSEEN), dataset, on_images=told.append)
    assert told == [1, 2]
    assert evaluate(trained(UNSEEN), dataset, batch_size=2, workers=1) == alone


def test_logits_are_judged_at_the_full_resolution_of_the_label(tmp_path: Path) -> None:
    label = blocks(3, 130, 194, 10)
    folder = write(tmp_path / "data", [label], [label])
    found = evaluate(trained(CLASSES), open_dataset("folder", folder, "val"), size=(64, 96))
    small = paint(label, 3).resize((96, 64), Image.Resampling.BILINEAR)
    with torch.inference_mode():
        logits = nearest_colour(3)(normalise(small)[None])
    logits = F.interpolate(logits, size=(130, 194), mode="bilinear", align_corners=False)
    guess = logits.argmax(1)[0].numpy()
    for index, name in enumerate(CLASSES):
        hit = ((guess == index) & (label == index)).sum()
        assert found.iou[name] == pytest.approx(hit / ((guess == index) | (label == index)).sum())
    assert 0.5 < found.miou < 1
    assert found.image_size == (64, 96)


def test_drawn_images_are_drawn_at_the_size(tmp_path: Path) -> None:
    dataset = open_dataset("synthetic", None, "val", count=1)
    found = evaluate(trained(dataset.classes, "synthetic"), dataset, size=(64, 96))
    same = evaluate(
        trained(dataset.classes, "synthetic"), open_dataset("synthetic", None, "val", count=1, size=(64, 96))
    )
    assert found == same


def test_other_classes_are_refused_by_both_names(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "val")
    with pytest.raises(InputError) as caught:
        evaluate(trained(("road", "sky"), "camvid"), dataset)
    for words in ("2 classes (road, sky) of camvid", "folder has the 4 classes (floor, wall, lamp, door)", "--dataset"):
        assert words in str(caught.value)
    with pytest.raises(InputError):
        evaluate(trained(UNSEEN[::-1]), dataset)


def test_labels_without_any_class_have_no_accuracy(tmp_path: Path) -> None:
    void = np.full((64, 64), 255, np.uint8)
    folder = write(tmp_path / "data", [np.zeros_like(void)], [void])
    with pytest.raises(DataError, match="no pixel"):
        evaluate(trained(CLASSES), open_dataset("folder", folder, "val"))


class Gives(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: Tensor) -> object:
        return self.value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"out": torch.zeros(1)}, "gives dict, not one tensor"),
        (torch.zeros(1, 3, 8, 8), r"shape \(1, 3, 8, 8\), not \(1, 4, h, w\)"),
        (torch.full((1, 4, 8, 8), float("nan")), "diverged"),
    ],
)
def test_what_is_no_logits_is_refused(folder: Path, value: object, complaint: str) -> None:
    one = trained(UNSEEN)
    broken = Trained(spec=one.spec, classes=one.classes, module=Gives(value).eval(), dataset="folder", size=None)
    with pytest.raises(InputError, match=complaint):
        evaluate(broken, open_dataset("folder", folder, "val"))


def test_the_command(folder: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "model.pt", UNSEEN)
    common = [str(model), "--dataset", "folder", "--data", str(folder), "--network", FACTORY, "--workers", "0"]
    done = run(*common, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["miou"] == pytest.approx(0.6)
    assert document["iou"] == {"floor": 0.8, "wall": 0.0, "lamp": 1.0, "door": None}
    assert (document["images"], document["classes_counted"], document["image_size"]) == (2, 3, "64x64")
    assert (document["parameters"], document["macs"]) == (3 * 4 + 4, 64 * 64 * 3 * 4)
    text = run(*common).stdout
    for words in ("mIoU 60.00% over 3 of 4 classes, 2 images of folder val at 64x64", "floor  80.00%", "door   -"):
        assert words in text


def test_the_size_is_the_one_of_the_training_where_nobody_says_otherwise(folder: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "model.pt", UNSEEN, size=(96, 128))
    common = [str(model), "--dataset", "folder", "--data", str(folder), "--network", FACTORY, "--workers", "0"]
    sizes = [
        json.loads(run(*common, *more, "--json").stdout)["image_size"]
        for more in ([], ["--size", "own"], ["--size", "64x80"])
    ]
    assert sizes == ["96x128", "64x64", "64x80"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--size", "12"], "HEIGHTxWIDTH"),
        (["--split", "test"], "no split 'test'"),
        (["--torch-device", "abacus"], "abacus"),
    ],
)
def test_mistakes_are_one_line(folder: Path, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    model = save(tmp_path / "model.pt", UNSEEN)
    done = run(str(model), "--dataset", "folder", "--data", str(folder), "--network", FACTORY, *arguments)
    assert done.exit_code != 0
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_module_of_ones_own_must_be_named(folder: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "model.pt", UNSEEN)
    done = run(str(model), "--dataset", "folder", "--data", str(folder))
    assert done.exit_code == 1
    assert f"--network {FACTORY}" in done.stderr


def test_what_cannot_be_counted_is_judged_all_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trainer.cost

    def fail(*_: object) -> None:
        raise trainer.cost.CostError("the network cannot be counted: so it is")

    monkeypatch.setattr(trainer.cost, "count_cost", fail)
    model = save(tmp_path / "model.pt", UNSEEN)
    done = run(
        *(str(model), "--dataset", "folder", "--data", str(folder), "--network", FACTORY, "--workers", "0", "--json")
    )
    assert done.exit_code == 0
    assert "Not counted" in done.stderr
    assert json.loads(done.stdout)["macs"] is None
