"""Topologies: how leaf layers make an operator.

Every convolution is followed by batch norm and ReLU (one :class:`ConvNormAct`), except the classifier's last. Resizing
is bilinear with half-pixel centres (``align_corners=False``), and always to an explicit size, so that odd feature maps
come out right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.operators.leaves import Leaves


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of an (N, C, H, W) tensor to (N, C, height, width)."""
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


class ConvNormAct(nn.Module):
    """Convolution, batch norm, ReLU: (N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(
        self,
        leaves: Leaves,
        c_in: int,
        c_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = leaves.conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups)
        self.norm = leaves.norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Run the three in order."""
        return F.relu(self.norm(self.conv(x)))


class Identity(nn.Module):
    """The skip at stride 1: what comes in goes out, at no cost."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` itself."""
        return x


class Conv(nn.Module):
    """``times`` 3×3 (or ``kernel``) convolutions in a row; the first one carries the stride and changes the width."""

    def __init__(
        self,
        leaves: Leaves,
        c_in: int,
        c_out: int,
        *,
        stride: int = 1,
        times: int = 1,
        kernel: int = 3,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ConvNormAct(
                leaves,
                c_in if index == 0 else c_out,
                c_out,
                kernel=kernel,
                stride=stride if index == 0 else 1,
                dilation=dilation,
                groups=groups,
            )
            for index in range(times)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        for layer in self.layers:
            x = layer(x)
        return x


class ZoomedConv(nn.Module):
    """Bilinear down by two, ``times`` 3×3 convolutions, bilinear up (section 3.1.2 of FasterSeg).

    At stride 2 the last step is left out: the smaller map is the output.
    """

    def __init__(self, leaves: Leaves, c_in: int, c_out: int, *, stride: int = 1, times: int = 1) -> None:
        super().__init__()
        self.body = Conv(leaves, c_in, c_out, times=times)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        height, width = int(x.shape[2]), int(x.shape[3])
        y: Tensor = self.body(resize(x, (height + 1) // 2, (width + 1) // 2))
        return resize(y, height, width) if self.stride == 1 else y


class Merge(nn.Module):
    """One step of the decoder: resize the coarse map to the fine one, concatenate, 3×3 convolution (Appendix A)."""

    def __init__(self, leaves: Leaves, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = ConvNormAct(leaves, c_in, c_out)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, c_out, H/2, W/2) and (N, c_in − c_out, H, W) → (N, c_out, H, W)."""
        joined = torch.cat([resize(coarse, int(fine.shape[2]), int(fine.shape[3])), fine], dim=1)
        y: Tensor = self.body(joined)
        return y


class Fuse(nn.Module):
    """Feature fusion: concatenate the branches, 1×1 convolution."""

    def __init__(self, leaves: Leaves, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = ConvNormAct(leaves, c_in, c_out, kernel=1)

    def forward(self, *branches: Tensor) -> Tensor:
        """``branches`` maps of (N, c_in / branches, H, W) → (N, c_out, H, W)."""
        y: Tensor = self.body(torch.cat(branches, dim=1) if len(branches) > 1 else branches[0])
        return y


class Classifier(nn.Module):
    """3×3 convolution at the same width, then 1×1 with bias to one channel per class."""

    def __init__(self, leaves: Leaves, c_in: int, classes: int) -> None:
        super().__init__()
        self.body = ConvNormAct(leaves, c_in, c_in)
        self.logits = leaves.conv(c_in, classes, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, classes, H, W)."""
        logits: Tensor = self.logits(self.body(x))
        return logits


class Upsample(nn.Module):
    """Bilinear upsampling to a fixed size: the image's."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) → (N, C, height, width)."""
        return resize(x, self.height, self.width)
