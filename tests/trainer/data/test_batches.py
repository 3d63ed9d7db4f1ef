"""Batches do not depend on how many processes make them, nor on interruptions."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latency_db.errors import LatencyDbError
from trainer.data import Augment, Batch, DataError, Place, Progress, Size, loader, open_dataset, split_in_halves
from trainer.data.dataset import SegmentationDataset
from trainer.data.order import ResumableSampler

Write = Callable[..., Path]


@pytest.fixture
def dataset() -> SegmentationDataset:
    return open_dataset("synthetic", None, "train", Augment(Size(32, 48)), size=(40, 64), count=11)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in zip(one, other, strict=True)
    )


def test_workers_change_nothing_and_torchs_generator_is_left_alone(dataset: SegmentationDataset) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    alone = list(itertools.islice(loader(dataset, 4, seed=3, workers=0).forever(), 5))
    helped = list(itertools.islice(loader(dataset, 4, seed=3, workers=2).forever(), 5))
    assert same(alone, helped)
    assert torch.equal(torch.get_rng_state(), before)
    assert tuple(alone[0].image.shape) == (4, 3, 32, 48) and tuple(alone[0].label.shape) == (4, 32, 48)
    assert not torch.equal(alone[0].image, alone[2].image)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_a_resumed_run_sees_what_an_unbroken_one_sees(dataset: SegmentationDataset, workers: int, taken: int) -> None:
    unbroken = list(itertools.islice(loader(dataset, 4, seed=1, workers=0).forever(), 6))
    first = loader(dataset, 4, seed=1, workers=workers)
    seen = list(itertools.islice(first.forever(), taken))
    state = first.state_dict()
    assert state == {"epoch": taken // 2, "position": taken % 2 * 4, "seed": 1, "length": 11}
    second = loader(dataset, 4, seed=1, workers=0)
    second.load_state_dict(state)
    seen += itertools.islice(second.forever(), 6 - taken)
    assert same(seen, unbroken)
    third = loader(dataset, 4, seed=1, workers=0, start=first.progress)
    assert same(list(itertools.islice(third.forever(), 1)), unbroken[taken : taken + 1])


def test_iterating_again_goes_on(dataset: SegmentationDataset) -> None:
    batches = loader(dataset, 4, workers=2)
    unbroken = list(itertools.islice(loader(dataset, 4, workers=0).forever(), 3))
    seen = []
    for batch in batches:
        seen.append(batch)
        break
    seen += list(batches)
    assert len(batches) == 2 and batches.progress == Progress(1, 0)
    seen += itertools.islice(batches, 1)
    assert same(seen, unbroken)


def test_an_epoch_is_every_sample_once_and_the_next_is_another_order() -> None:
    sampler = ResumableSampler(12, 4, training=True, seed=0)
    first = [place.index for batch in sampler for place in batch]
    sampler.advance(12)
    second = [place.index for batch in sampler for place in batch]
    assert sorted(first) == sorted(second) == list(range(12)) and first != second


def test_validation_is_every_sample_in_order_each_time(dataset: SegmentationDataset) -> None:
    plain = dataset.with_transform(None)
    batches = loader(plain, 4, training=False, workers=0)
    one, other = list(batches), list(batches)
    assert [len(batch.label) for batch in one] == [4, 4, 3] and len(batches) == 3
    assert same(one, other)
    assert torch.equal(torch.cat([batch.label for batch in one])[6], plain[6].label)


def test_augmentation_depends_on_epoch_and_seed(dataset: SegmentationDataset) -> None:
    images = [dataset[place].image for place in (2, Place(2), Place(2, epoch=1), Place(2, seed=1))]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2]) and not torch.equal(images[0], images[3])


def test_halves_share_nothing(dataset: SegmentationDataset) -> None:
    one, other = split_in_halves(dataset, seed=0)
    assert one.indices is not None and other.indices is not None
    assert len(one) == len(other) == 5 and not set(one.indices) & set(other.indices)
    again, _ = split_in_halves(dataset, seed=0)
    different, _ = split_in_halves(dataset, seed=1)
    assert again.indices == one.indices != different.indices
    # A half augments its samples as the whole does.
    assert torch.equal(one[1].image, dataset[one.indices[1]].image)
    quarter, _ = split_in_halves(one)
    assert quarter.indices is not None and set(quarter.indices) < set(one.indices)
    with pytest.raises(DataError, match="too few images to split in halves: 1"):
        split_in_halves(dataset.subset([0]))


def test_an_error_survives_the_way_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(DataError("no such image")))
    assert isinstance(copy, DataError) and isinstance(copy, LatencyDbError) and isinstance(copy, ValueError)
    assert (str(copy), copy.message, copy.hint) == ("no such image", "no such image", None)
    assert str(pickle.loads(pickle.dumps(DataError("no such image", "draw one")))) == "no such image (draw one)"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_one_line(folder: Path, workers: int) -> None:
    (folder / "masks" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot read .*2\.png: not an image$") as caught:
        list(loader(open_dataset("folder", folder, "all"), 5, workers=workers))
    assert "\n" not in str(caught.value)


def test_images_of_two_sizes_are_no_batch(folder: Path, write_image: Write, write_label: Write) -> None:
    write_image("images/1.png", height=30)
    write_label("masks/1.png", [0], height=30)
    mixed = open_dataset("folder", folder, "all")
    with pytest.raises(DataError, match="24x40 and 30x40 do not fit into one batch"):
        list(loader(mixed, 5, workers=0))
    assert len(list(loader(mixed, 1, training=False, workers=0))) == 5
    assert len(list(loader(mixed.with_transform(Augment(Size(16, 16))), 5, workers=0))) == 1


def test_requests_that_make_no_sense(dataset: SegmentationDataset) -> None:
    with pytest.raises(DataError, match="too few images for a batch of 12: 11"):
        loader(dataset, 12)
    with pytest.raises(DataError):
        loader(dataset, 0)
    with pytest.raises(DataError, match="only training can start later"):
        loader(dataset, 2, training=False, start=Progress(1, 0))
    with pytest.raises(DataError, match="no place in epochs of 11 images"):
        loader(dataset, 4, start=Progress(0, 12))
    batches = loader(dataset, 4, workers=0)
    for change in ({"seed": 9}, {"length": 12}, {"position": -1}):
        with pytest.raises(DataError):
            batches.load_state_dict({**batches.state_dict(), **change})
    with pytest.raises(DataError, match="no 'length'"):
        batches.load_state_dict({"epoch": 0, "position": 0, "seed": 0})


def test_a_run_may_go_on_with_another_batch_size(dataset: SegmentationDataset) -> None:
    first = loader(dataset, 4, workers=0)
    next(iter(first))
    larger, largest = loader(dataset, 7, workers=0), loader(dataset, 8, workers=0)
    for other in (larger, largest):
        other.load_state_dict(first.state_dict())
    assert larger.progress == Progress(0, 4) and [len(batch.label) for batch in larger] == [7]
    # Seven samples are left: no batch of eight.
    assert largest.progress == Progress(1, 0)


def gathered(parts: list[Batch]) -> Batch:
    """What several processes hold of one batch, in the order of one process."""
    images, labels = (
        torch.stack([part[field] for part in parts], 1).flatten(0, 1)  # One of each rank after the other.
        for field in (0, 1)
    )
    return Batch(images, labels)


@pytest.mark.parametrize(("processes", "batch_size"), [(2, 2), (4, 1), (2, 1), (3, 1)])
@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_the_batches_of_one(
    dataset: SegmentationDataset, processes: int, batch_size: int, workers: int
) -> None:
    alone = loader(dataset, batch_size * processes, seed=2, workers=0)
    ranks = [loader(dataset, batch_size, seed=2, shard=(rank, processes), workers=workers) for rank in range(processes)]
    assert all(len(rank) == len(alone) for rank in ranks)
    # On into the second epoch.
    streams = [rank.forever() for rank in ranks]
    for whole in itertools.islice(alone.forever(), len(alone) + 2):
        parts = [next(stream) for stream in streams]
        assert all(len(part.label) == batch_size for part in parts)
        assert same([gathered(parts)], [whole])
        assert all(rank.state_dict() == alone.state_dict() for rank in ranks)


def test_a_run_may_go_on_with_another_number_of_processes(dataset: SegmentationDataset) -> None:
    unbroken = list(itertools.islice(loader(dataset, 4, seed=1, workers=0).forever(), 4))
    first = loader(dataset, 4, seed=1, workers=0)
    seen = [next(iter(first))]
    ranks = [loader(dataset, 2, seed=1, shard=(rank, 2), workers=0) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(first.state_dict())
    seen += [gathered(list(parts)) for parts in itertools.islice(zip(*(r.forever() for r in ranks), strict=True), 2)]
    first.load_state_dict(ranks[1].state_dict())
    seen.append(next(iter(first)))
    assert same(seen, unbroken)


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 12])
def test_processes_validate_every_sample_once(dataset: SegmentationDataset, processes: int) -> None:
    plain = dataset.with_transform(None)
    found: list[torch.Tensor | None] = [None] * len(plain)
    for rank in range(processes):
        batches = loader(plain, 2, training=False, shard=(rank, processes), workers=0)
        passes = list(batches)
        assert len(passes) == len(batches) and same(passes, list(batches))
        for number, label in enumerate(label for batch in passes for label in batch.label):
            assert found[rank + number * processes] is None
            found[rank + number * processes] = label
    assert all(torch.equal(label, plain[index].label) for index, label in enumerate(found) if label is not None)
    assert all(label is not None for label in found)


def test_shards_that_are_none(dataset: SegmentationDataset) -> None:
    for shard in ((2, 2), (-1, 2), (0, 0), (0, -1)):
        with pytest.raises(DataError, match="counted from 0"):
            loader(dataset, 2, shard=shard)
    with pytest.raises(DataError, match="too few images for a batch of 12: 11"):
        loader(dataset, 6, shard=(0, 2))


def test_nothing_is_fixed_to_the_process(dataset: SegmentationDataset, folder: Path) -> None:
    """Where processes are not forked, workers get pickled copies."""
    for one in (dataset, open_dataset("folder", folder, "all")):
        copy = pickle.loads(pickle.dumps(one))
        assert torch.equal(copy[1].image, one[1].image) and copy.classes == one.classes
