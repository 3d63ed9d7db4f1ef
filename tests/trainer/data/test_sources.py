"""Every layout is read as its makers meant it, and whatever is wrong is said in one line that names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data import DataError, class_frequencies, open_dataset
from trainer.data.bdd100k import CLASSES as BDD_CLASSES
from trainer.data.camvid import COLOURS
from trainer.data.cityscapes import CLASSES, TRAIN_IDS

Write = Callable[..., Path]


def fails(pattern: str, name: str, root: Path | None, split: str = "train", read: bool = False) -> None:
    """Opening, or reading the first sample, gives one line that matches."""
    with pytest.raises(DataError, match=pattern) as caught:
        dataset = open_dataset(name, root, split)
        assert read, "opening went well"
        dataset[0]
    assert "\n" not in str(caught.value)


def values(label: torch.Tensor) -> list[int]:
    return sorted(label.unique().tolist())


def test_cityscapes(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    for city in ("aachen", "bremen"):
        write_image(f"leftImg8bit/train/{city}/{city}_0_1_leftImg8bit.png")
        write_label(f"gtFine/train/{city}/{city}_0_1_gtFine_labelIds.png", list(range(34)))
        # What lies beside the labels in the release is no label of another image.
        write_label(f"gtFine/train/{city}/{city}_0_1_gtFine_color.png", [(1, 2, 3)])
    dataset = open_dataset("cityscapes", tmp_path, "train")
    assert (len(dataset), dataset.name, dataset.num_classes, dataset.size) == (2, "cityscapes", 19, (24, 40))
    image, label = dataset[1]
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (3, 24, 40))
    assert (label.dtype, tuple(label.shape)) == (torch.int64, (24, 40))
    assert values(label) == [*range(19), 255]
    assert label.flatten()[:34].tolist() == [TRAIN_IDS[value] for value in range(34)]
    assert [CLASSES[TRAIN_IDS[value]] for value in (7, 11, 23, 26, 33)] == ["road", "building", "sky", "car", "bicycle"]


def test_cityscapes_errors(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    fails("needs the folder", "cityscapes", None)
    fails("nowhere is not there", "cityscapes", tmp_path / "nowhere")
    fails("expected leftImg8bit/train/ and gtFine/train/ in .*, found nothing", "cityscapes", tmp_path)
    image = write_image("leftImg8bit/train/ulm/ulm_0_leftImg8bit.png")
    fails("expected .*, found leftImg8bit/$", "cityscapes", tmp_path)
    (tmp_path / "gtFine" / "train").mkdir(parents=True)
    fails(f"{re.escape(str(image))} has no label .*labelIds.png", "cityscapes", tmp_path)
    write_label("gtFine/train/ulm/ulm_0_gtFine_labelIds.png", [7, 77, 200])
    fails(
        "ulm_0_gtFine_labelIds.png has .* none: 77, 200; allowed are label ids 0 to 33",
        "cityscapes",
        tmp_path,
        read=True,
    )
    fails("no split 'training': it has train, val, test", "cityscapes", tmp_path, "training")
    image.unlink()
    fails("no images named", "cityscapes", tmp_path)


def test_camvid_in_split_folders(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    write_image("val/a.jpg")
    write_label("valannot/a.png", list(range(12)))
    dataset = open_dataset("camvid", str(tmp_path), "val")
    assert dataset.classes[:4] == ("sky", "building", "pole", "road") and dataset.num_classes == 11
    assert values(dataset[0].label) == [*range(11), 255]
    fails("expected train/ and trainannot/, or 701_StillsRaw_full/ .* found val/, valannot/", "camvid", tmp_path)


def test_camvid_as_released(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    assert len(COLOURS) == 32 and set(COLOURS.values()) == {*range(11), 255}
    for name in ("one", "two"):
        write_image(f"701_StillsRaw_full/{name}.png")
        write_label(f"LabeledApproved_full/{name}_L.png", list(COLOURS))
    fails("train.txt is not there: the release has no splits", "camvid", tmp_path)
    listed = tmp_path / "train.txt"
    listed.write_text("two\n\n/somewhere/one.png /somewhere/one_L.png\n", encoding="utf-8")
    dataset = open_dataset("camvid", tmp_path, "train")
    assert len(dataset) == 2
    assert dataset[0].label.flatten()[:32].tolist() == list(COLOURS.values())
    write_label("LabeledApproved_full/two_L.png", [(128, 128, 128), (128, 128, 127)])
    fails(r"two_L.png has a colour .*: \(128, 128, 127\)", "camvid", tmp_path, read=True)
    write_label("LabeledApproved_full/two_L.png", [(64, 64, 64)])
    fails(r"two_L.png has a colour .*: \(64, 64, 64\)", "camvid", tmp_path, read=True)
    listed.write_text("three\n", encoding="utf-8")
    fails("names three, but .*three.png is not there", "camvid", tmp_path)
    listed.write_text("\n", encoding="utf-8")
    fails("names no image", "camvid", tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "ending"),
    [("images/10k", "labels/sem_seg/masks", ""), ("seg/images", "seg/labels", "_train_id")],
    ids=["released", "older"],
)
def test_bdd100k(tmp_path: Path, write_image: Write, write_label: Write, images: str, labels: str, ending: str) -> None:
    write_image(f"{images}/train/a-b.jpg")
    write_label(f"{labels}/train/a-b{ending}.png", [*range(19), 255])
    dataset = open_dataset("bdd100k", tmp_path, "train")
    assert dataset.classes == BDD_CLASSES == CLASSES
    assert values(dataset[0].label) == [*range(19), 255]
    fails("no split 'test': it has train, val", "bdd100k", tmp_path, "test")
    fails("expected images/10k/val/ and .* or seg/images/val/", "bdd100k", tmp_path, "val")
    write_label(f"{labels}/train/a-b{ending}.png", [19])
    fails("values that are none: 19", "bdd100k", tmp_path, read=True)


def test_a_folder(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "all")
    assert (dataset.classes, len(dataset)) == (("floor", "wall", "lamp"), 5)
    assert values(dataset[0].label) == [0, 1, 2, 255]
    torch.testing.assert_close(class_frequencies(dataset), torch.tensor([0.5, 0.25, 0.25]).double(), atol=1e-3, rtol=0)
    assert len(open_dataset("folder", folder, "all", count=2)) == 2


def test_a_folder_with_splits(tmp_path: Path, write_image: Write, write_label: Write) -> None:
    (tmp_path / "classes.txt").write_text("one\ntwo\n", encoding="utf-8")
    for split in ("day", "night"):
        write_image(f"images/{split}/x.JPG")
        write_label(f"masks/{split}/x.png", [0, 1])
    assert len(open_dataset("folder", tmp_path, "night")) == 1
    fails("no split 'train': it has day, night", "folder", tmp_path)


def test_folder_errors(folder: Path, write_image: Write, write_label: Write) -> None:
    fails("without subfolders the only split is 'all'", "folder", folder)
    write_label("masks/0.png", [3, 0])
    fails("0.png has .* none: 3; allowed are class indices 0 to 2 and 255", "folder", folder, "all", read=True)
    write_label("masks/0.png", [0], height=12)
    fails(r"0.png is 12x40 \(height x width\), but .*0.png is 24x40", "folder", folder, "all", read=True)
    write_label("masks/0.png", [(0, 0, 0)])
    fails("0.png is no image of class indices .* RGB", "folder", folder, "all", read=True)
    (folder / "masks" / "0.png").write_bytes(b"something else")
    fails("cannot read .*masks/0.png: not an image", "folder", folder, "all", read=True)
    whole = write_image("images/0.png").read_bytes()
    (folder / "images" / "0.png").write_bytes(whole[: len(whole) // 2])
    fails("cannot read .*images/0.png: ", "folder", folder, "all", read=True)
    (folder / "masks" / "3.png").unlink()
    (folder / "masks" / "4.png").unlink()
    fails("3.png has no label in .*masks, nor have 1 others", "folder", folder, "all")
    write_label("masks/3.png", [0])
    write_label("masks/4.png", [0])
    write_label("masks/stray.png", [0])
    fails("stray.png has no image in", "folder", folder, "all")
    write_image("images/stray.png")
    write_image("images/stray.jpg")
    fails("stray.jpg and stray.png in .* are for the same image", "folder", folder, "all")
    for text, pattern in (("a\na\n", "'a' twice"), ("\n", "names no class"), ("x\n" * 300, "300 classes")):
        (folder / "classes.txt").write_text(text, encoding="utf-8")
        fails(pattern, "folder", folder, "all")
    (folder / "classes.txt").unlink()
    fails("expected images/, masks/ and classes.txt in .*, found images/, masks/", "folder", folder, "all")


def test_requests_that_make_no_sense(folder: Path) -> None:
    fails("no data set 'pascal': there are bdd100k, camvid, cityscapes, folder, synthetic", "pascal", folder)
    fails("takes no folder", "synthetic", folder)
    fails("no split 'all'", "synthetic", None, "all")
    for arguments in ({"count": 0}, {"count": 6}, {"size": (0, 5)}):
        with pytest.raises(DataError):
            open_dataset("folder", folder, "all", **arguments)
    with pytest.raises(IndexError):
        open_dataset("folder", folder, "all")[5]


def test_samples_can_be_brought_to_another_size(folder: Path) -> None:
    dataset = open_dataset("folder", folder, "all", size=(12, 20))
    image, label = dataset[0]
    assert dataset.size == (12, 20) and tuple(image.shape) == (3, 12, 20) and tuple(label.shape) == (12, 20)
    assert set(values(label)) <= {0, 1, 2, 255}


@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
def test_the_real_camvid(shared_dir: Path, split: str, count: int) -> None:
    root = shared_dir / "data" / "camvid"
    if not root.is_dir():
        pytest.skip("no camvid in the reference data")
    dataset = open_dataset("camvid", root, split)
    assert len(dataset) == count and dataset.size == (360, 480)
    image, label = dataset[count - 1]
    assert tuple(image.shape) == (3, 360, 480) and -3 < image.mean() < 3
    assert set(values(label)) <= {*range(11), 255}
    shares = class_frequencies(dataset.subset(range(0, count, 3)))
    assert shares.min() > 0
    # What any street has most of; it also tells an order of classes that is not this one.
    assert {dataset.classes[index] for index in np.argsort(-shares.numpy())[:3]} <= {"road", "building", "sky", "tree"}
