"""The human-designed networks that FasterSeg is compared with (its Tables 4 to 6), each from its own paper.

The registry loads no torch: a network's module is imported when it is built.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.zoo.published import PUBLISHED, Published, Result

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PUBLISHED", "ZOO", "Published", "Result", "ZooEntry", "build"]


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One network of the zoo.

    Attributes:
        target: ``"module:Class"``; the class takes ``(num_classes, *, auxiliary=False)``.
        published: what papers print about it.
        auxiliary: whether it is trained with auxiliary losses, so that ``auxiliary=True`` builds heads for them.
        note: where what stands here differs from what is published, and why; empty where nothing does.
    """

    target: str
    published: Published
    auxiliary: bool = False
    note: str = ""


ZOO: dict[str, ZooEntry] = {
    "enet": ZooEntry(
        target="trainer.zoo.enet:ENet",
        published=PUBLISHED["enet"],
        note="multiply-adds are 5 % below half of the published FLOPs, which may count norms, activations and sums",
    ),
    "icnet": ZooEntry(
        target="trainer.zoo.icnet:ICNet",
        published=PUBLISHED["icnet"],
        auxiliary=True,
        note="weights of the auxiliary losses are those of public reproductions, not checked against the paper",
    ),
    "bisenet-r18": ZooEntry(
        target="trainer.zoo.bisenet:BiSeNetR18",
        published=PUBLISHED["bisenet-r18"],
        auxiliary=True,
        note="not the BiSeNet of FasterSeg's tables, which has Xception39; widths as in the first author's repository",
    ),
    "bisenet-x39": ZooEntry(
        target="trainer.zoo.bisenet:BiSeNetX39",
        published=PUBLISHED["bisenet-x39"],
        auxiliary=True,
        note="the BiSeNet of FasterSeg's tables; widths as in the first author's repository",
    ),
    "fast-scnn": ZooEntry(
        target="trainer.zoo.fast_scnn:FastScnn",
        published=PUBLISHED["fast-scnn"],
        auxiliary=True,
        note="2.5 % more parameters than published: the paper does not give the widths inside pyramid pooling",
    ),
    "df1-seg-d8": ZooEntry(
        target="trainer.zoo.dfseg:Df1SegD8",
        published=PUBLISHED["df1-seg-d8"],
        note="the decoder's widths are from the authors' layer lists; the whole network's size is nowhere published",
    ),
    "drn-d-22": ZooEntry(
        target="trainer.zoo.drn:DrnD22",
        published=PUBLISHED["drn-d-22"],
        note="published parameters include the ImageNet classifier; with 1000 classes they match",
    ),
}
"""By name: the names of :data:`PUBLISHED`, but for those that are there with figures only."""


def build(name: str, num_classes: int, auxiliary: bool = False) -> nn.Module:
    """The network of that name, with new weights.

    Raises:
        KeyError: no network has that name; the message lists those there are.
        ValueError: auxiliary heads are asked for, and the network is trained without.
    """
    if name not in ZOO:
        raise KeyError(f"no network {name!r} in the zoo: it has {', '.join(ZOO)}")
    module, _, attribute = ZOO[name].target.partition(":")
    network: nn.Module = getattr(importlib.import_module(module), attribute)(num_classes, auxiliary=auxiliary)
    return network
