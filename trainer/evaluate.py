"""How accurate a trained network is on a data set, as benchmarks count it: every labelled pixel of the set, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch

from latency_db.errors import InputError
from trainer.accuracy import measure_accuracy
from trainer.data.batches import Batch, loader
from trainer.data.dataset import SegmentationDataset
from trainer.data.errors import DataError
from trainer.data.files import PairedFiles
from trainer.data.sample import Sample, Size
from trainer.image_files import image_to
from trainer.inference import Checked
from trainer.metrics import mean_iou
from trainer.trained import Trained

SHOWN = 4
"""Classes that a message names, of many."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Accuracy of a network on a data set.

    Attributes:
        images: how many.
        image_size: what they were brought to; where they keep their own size, the first one's.
        miou: mean of the known values of ``iou``, in [0, 1].
        iou: intersection over union by class; None for a class that is neither in a label nor predicted.
    """

    images: int
    image_size: Size
    miou: float
    iou: Mapping[str, float | None]

    @property
    def counted(self) -> int:
        """How many classes ``miou`` is the mean of."""
        return sum(value is not None for value in self.iou.values())


def evaluate(
    trained: Trained,
    dataset: SegmentationDataset,
    *,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 1,
    workers: int = 0,
    on_images: Callable[[int], None] | None = None,
) -> Evaluation:
    """Data-set mIoU at one scale, without flips.

    Images are brought to ``size`` for the network; its logits go to the label's own resolution, bilinearly, and are
    judged there. Pixels of all images are counted before any ratio is taken, those without a class never. What is drawn
    rather than read (the synthetic streets) is drawn at ``size``, its label with it.

    Args:
        trained: the network, on ``device``.
        dataset: at its own size, without augmentation.
        size: (height, width) of the network's input; None for the images' own.
        device: where the network is.
        batch_size: images at once; above 1, all must be of one size.
        workers: processes that read ahead.
        on_images: is told how many images are done, after each batch.

    Raises:
        InputError: the data set's classes are not the network's, or the network gives no logits for them.
        DataError: an image or label cannot be read, or no pixel has a class.
    """
    require_classes(trained, dataset)
    sized = with_image_size(dataset, size)
    batches = loader(sized, batch_size, training=False, workers=workers)
    network = Checked(trained.module, len(trained.classes))
    metric = measure_accuracy(network, _counted(batches, on_images), len(trained.classes), device)
    values = metric.per_class()
    if all(value is None for value in values):
        raise DataError(f"{dataset.name}: no pixel of its {len(dataset)} labels has a class")
    return Evaluation(
        images=len(sized),
        image_size=sized.size if size is None else Size(*size),
        miou=mean_iou(values),
        iou=dict(zip(trained.classes, values, strict=True)),
    )


def require_classes(trained: Trained, dataset: SegmentationDataset) -> None:
    """See that the network's logits stand for the data set's classes, in its order.

    Raises:
        InputError: they do not.
    """
    if trained.classes == dataset.classes:
        return
    raise InputError(
        f"{trained.spec.name} was trained for {_named(trained.classes)} of {trained.dataset}, "
        f"but {dataset.name} has {_named(dataset.classes)}: name the data set that it was trained for with --dataset, "
        "or take a network trained for this one"
    )


def with_image_size(dataset: SegmentationDataset, size: tuple[int, int] | None) -> SegmentationDataset:
    """The same samples with images of ``size``; labels that lie in files keep their own resolution.

    Raises:
        DataError: what is drawn cannot be drawn so small.
    """
    if size is None:
        return dataset
    if isinstance(dataset.source, PairedFiles):
        return dataset.with_transform(_ImageTo(Size(*size)))
    return SegmentationDataset(dataset.source.resized(Size(*size)), dataset.transform, dataset.indices)


@dataclass(frozen=True)
class _ImageTo:
    """Brings the image of a sample to a size, and leaves its label."""

    size: Size

    def __call__(self, sample: Sample, rng: Random) -> Sample:
        return Sample(image_to(sample.image, self.size), sample.label)


def with_drawn_size(dataset: SegmentationDataset, sizes: set[Size | None]) -> SegmentationDataset:
    """What is drawn rather than read, drawn at the one size that all networks take; anything else as it is.

    Raises:
        DataError: it cannot be drawn so small.
    """
    (size, *others) = sizes
    if others or isinstance(dataset.source, PairedFiles):
        return dataset
    return with_image_size(dataset, size)


def _counted(batches: Iterable[Batch], on_images: Callable[[int], None] | None) -> Iterator[Batch]:
    """The batches; after each, how many images are done is told."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.image)
        if on_images is not None:
            on_images(done)


def _named(classes: Sequence[str]) -> str:
    rest = ", …" if len(classes) > SHOWN else ""
    return f"the {len(classes)} classes ({', '.join(classes[:SHOWN])}{rest})"
