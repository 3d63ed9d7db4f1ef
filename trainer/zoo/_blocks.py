"""What several of these networks are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.operators import PlainLeaves
from latency_db.operators.topology import ConvNormAct, resize

LEAVES = PlainLeaves()


def conv(
    c_in: int, c_out: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool = False
) -> nn.Module:
    """A bare convolution, padded so that the output is ⌈size / stride⌉."""
    return LEAVES.conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups, bias=bias)


def conv_relu(
    c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> ConvNormAct:
    """Convolution, batch norm, ReLU."""
    return ConvNormAct(LEAVES, c_in, c_out, kernel=kernel, stride=stride, dilation=dilation, groups=groups)


def conv_norm(
    c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution and batch norm: where a sum or another convolution comes before the next ReLU."""
    layer = conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups)
    return nn.Sequential(layer, LEAVES.norm(c_out))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut (He et al., "Deep Residual Learning", 2016, Fig. 5 left).

    (N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉). The shortcut is a 1×1 convolution where the shape changes.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = conv_relu(c_in, c_out, stride=stride, dilation=dilation)
        self.second = conv_norm(c_out, c_out, dilation=dilation)
        same = stride == 1 and c_in == c_out
        self.shortcut: nn.Module = nn.Identity() if same else conv_norm(c_in, c_out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU of the sum of both ways."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


def basic_blocks(c_in: int, c_out: int, times: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """``times`` basic blocks; the first one carries the stride and changes the width."""
    return nn.Sequential(
        *(
            BasicBlock(c_in if index == 0 else c_out, c_out, stride=stride if index == 0 else 1, dilation=dilation)
            for index in range(times)
        )
    )


class Head(nn.Module):
    """3×3 convolution to ``width``, then 1×1 with bias: (N, c_in, H, W) → logits (N, num_classes, H, W)."""

    def __init__(self, c_in: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = conv_relu(c_in, width)
        self.logits = conv(width, num_classes, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Run both in order."""
        return self.logits(self.body(x))


def pool_to_bins(x: Tensor, rows: int, columns: int) -> Tensor:
    """Average (N, C, H, W) over a grid: (N, C, min(rows, H), min(columns, W)).

    All windows of a grid have one size, so that it is one ordinary average pooling, which every runtime has; they
    overlap where the size is no multiple of the grid's. Where it is, this is ``adaptive_avg_pool2d``.
    """
    height, width = int(x.shape[2]), int(x.shape[3])
    rows, columns = min(rows, height), min(columns, width)
    stride = (height // rows, width // columns)
    kernel = (height - (rows - 1) * stride[0], width - (columns - 1) * stride[1])
    return F.avg_pool2d(x, kernel, stride)


class PyramidPooling(nn.Module):
    """Averages over grids of several sizes beside the map itself (Zhao et al., "Pyramid Scene Parsing", 2017, Fig. 3).

    Each average goes through a 1×1 convolution to ``width`` channels and is resized to the map; all are concatenated
    and go through a ``kernel``×``kernel`` convolution: (N, c_in, H, W) → (N, c_out, H, W).

    Batch norms see the coarsest grid: a batch of one image, where that grid is one pixel, cannot be trained on.
    """

    def __init__(self, c_in: int, width: int, c_out: int, *, grids: int, kernel: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_relu(c_in, width, 1) for _ in range(grids))
        self.fuse = conv_relu(c_in + grids * width, c_out, kernel)

    def forward(self, x: Tensor, grids: Sequence[tuple[int, int]]) -> Tensor:
        """``grids``: rows and columns of each grid, one per branch."""
        height, width = int(x.shape[2]), int(x.shape[3])
        maps = [x]
        for branch, (rows, columns) in zip(self.branches, grids, strict=True):
            maps.append(resize(branch(pool_to_bins(x, rows, columns)), height, width))
        return self.fuse(torch.cat(maps, dim=1))


class Supervised(nn.Module, ABC):
    """A network that is trained with auxiliary losses: see :class:`trainer.zoo.protocol.AuxiliaryNetwork`."""

    auxiliary_weights: ClassVar[tuple[float, ...]]
    auxiliary_heads: nn.ModuleList

    @abstractmethod
    def run(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and the feature maps that the auxiliary heads read."""

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → logits; the auxiliary heads are not run."""
        return self.run(image)[0]

    def with_auxiliary(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and those of every auxiliary head, each at the resolution of the map that it reads.

        Raises:
            RuntimeError: the network was built without auxiliary heads.
        """
        if not hasattr(self, "auxiliary_heads"):
            raise RuntimeError(f"{type(self).__name__} was built without auxiliary heads: pass auxiliary=True")
        logits, features = self.run(image)
        return logits, tuple(head(x) for head, x in zip(self.auxiliary_heads, features, strict=True))


def refuse_auxiliary(network: nn.Module, auxiliary: bool) -> None:
    """For networks without auxiliary losses.

    Raises:
        ValueError: auxiliary heads are asked for.
    """
    if auxiliary:
        raise ValueError(f"{type(network).__name__} is trained without auxiliary losses: it has no auxiliary heads")
