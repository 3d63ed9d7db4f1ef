"""Curves of trainings: losses and accuracy by epoch, as a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

from latency_db.errors import InputError
from trainer.training.record import EpochRecord


def render_curves(runs: Mapping[str, Sequence[EpochRecord]]) -> bytes:
    """Segmentation loss and mIoU over the epochs, a line per training.

    Args:
        runs: epochs by what to call the training.

    Returns:
        The bytes of a PNG.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("pictures need matplotlib, which is not installed: pip install 'latency-db[report]'") from None
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    for name, epochs in runs.items():
        (line,) = losses.plot([one.epoch + 1 for one in epochs], [one.segmentation for one in epochs], label=name)
        judged = [one for one in epochs if one.miou is not None]
        accuracy.plot(
            [one.epoch + 1 for one in judged],
            [100 * one.miou for one in judged if one.miou is not None],
            color=line.get_color(),
            label=name,
        )
    losses.set_ylabel("segmentation loss")
    accuracy.set_ylabel("mIoU on the validation images, %")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    if len(runs) > 1:
        accuracy.legend(fontsize="small")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
