"""ENet.

Paszke, Chaurasia, Kim and Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation",
arXiv 1606.02147, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainer.zoo._blocks import conv, refuse_auxiliary


def max_pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """2×2 max pooling: (N, C, H, W) → (N, C, ⌈H/2⌉, ⌈W/2⌉), and for each the position 0…3 of the maximum in its window.

    The same as ``max_pool2d(…, ceil_mode=True, return_indices=True)``, but for the numbering. ONNX has no operator
    that undoes a pooling on all runtimes; from positions within windows it is a comparison (:func:`max_unpool`).
    """
    # A repeated last row never beats the one that it repeats: the first of equals is taken.
    x = pad_to_even(x)
    return F.pixel_unshuffle(x, 2).unflatten(1, (int(x.shape[1]), 4)).max(dim=2)


def max_unpool(x: Tensor, position: Tensor, height: int, width: int) -> Tensor:
    """Put each value where its window's maximum was, and 0 elsewhere: (N, C, h, w) → (N, C, height, width)."""
    windows = torch.arange(4, device=x.device).view(1, 1, 4, 1, 1)
    values = torch.where(position.unsqueeze(2) == windows, x.unsqueeze(2), 0.0)
    return F.pixel_shuffle(values.flatten(1, 2), 2)[:, :, :height, :width]


def pad_to_even(x: Tensor) -> Tensor:
    """Repeat the last row and column of odd maps, so that halving loses nothing."""
    bottom, right = int(x.shape[2]) % 2, int(x.shape[3]) % 2
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _transposed(c_in: int, c_out: int, *, bias: bool = False) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _kernel(c_in: int, c_out: int, kernel: tuple[int, int], *, stride: int = 1) -> nn.Conv2d:
    padding = (0, 0) if stride > 1 else (kernel[0] // 2, kernel[1] // 2)
    layer = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    return layer


class NormAct(nn.Module):
    """Batch norm and a PReLU with a slope for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W), the same shape out."""
        return self.act(self.norm(x))


class Initial(nn.Module):
    """A 3×3 convolution at stride 2 beside the pooled image (Fig. 2a): (N, 3, H, W) → (N, 16, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(3, 13, 3, stride=2)
        self.act = NormAct(16)

    def forward(self, image: Tensor) -> Tensor:
        """Concatenate both, batch norm, PReLU."""
        return self.act(torch.cat([self.conv(image), F.max_pool2d(pad_to_even(image), 2)], dim=1))


class Bottleneck(nn.Module):
    """A branch of 1×1, a main convolution and 1×1, added to what comes in (Fig. 2b): (N, width, H, W) → the same.

    The branch is a quarter as wide. ``kind`` is the main convolution: ``"regular"``, ``"dilated"`` by ``dilation``, or
    ``"asymmetric"``, 5×1 and 1×5.
    """

    def __init__(self, width: int, *, kind: str = "regular", dilation: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        inner = width // 4
        main = (
            [_kernel(inner, inner, (5, 1)), _kernel(inner, inner, (1, 5))]
            if kind == "asymmetric"
            else [conv(inner, inner, 3, dilation=dilation)]
        )
        self.branch = _branch(conv(width, inner, 1), main, inner, width, dropout)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        """Add, then PReLU."""
        return self.act(x + self.branch(x))


def _branch(first: nn.Module, main: Sequence[nn.Module], inner: int, c_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        first,
        NormAct(inner),
        *main,
        NormAct(inner),
        conv(inner, c_out, 1),
        nn.BatchNorm2d(c_out),
        nn.Dropout2d(dropout),
    )


class Downsample(nn.Module):
    """The bottleneck that halves: max pooling, with zeros for new channels, beside a 2×2 convolution at stride 2.

    (N, c_in, H, W) → (N, c_out, ⌈H/2⌉, ⌈W/2⌉), and the positions of the maxima of the c_in channels.
    """

    def __init__(self, c_in: int, c_out: int, *, dropout: float) -> None:
        super().__init__()
        inner = c_out // 4
        self.branch = _branch(_kernel(c_in, inner, (2, 2), stride=2), [conv(inner, inner, 3)], inner, c_out, dropout)
        self.act = nn.PReLU(c_out)
        self.extra = c_out - c_in

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Add, then PReLU."""
        pooled, position = max_pool(x)
        return self.act(F.pad(pooled, (0, 0, 0, 0, 0, self.extra)) + self.branch(pad_to_even(x))), position


class Upsample(nn.Module):
    """The bottleneck that doubles: a 1×1 convolution and unpooling beside a transposed 3×3 convolution.

    (N, c_in, h, w) → (N, c_out, height, width), the maxima's positions and the size being those of a pooling before.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        inner = c_out // 4
        self.main = nn.Sequential(conv(c_in, c_out, 1), nn.BatchNorm2d(c_out))
        self.reduce = nn.Sequential(conv(c_in, inner, 1), NormAct(inner))
        self.enlarge = _transposed(inner, inner)
        self.expand = nn.Sequential(NormAct(inner), conv(inner, c_out, 1), nn.BatchNorm2d(c_out), nn.Dropout2d(0.1))
        self.act = nn.PReLU(c_out)

    def forward(self, x: Tensor, position: Tensor, height: int, width: int) -> Tensor:
        """Add, then PReLU."""
        branch = self.expand(self.enlarge(self.reduce(x), output_size=[height, width]))
        return self.act(max_unpool(self.main(x), position, height, width) + branch)


def _section() -> nn.Sequential:
    """Bottlenecks 1 to 8 of sections 2 and 3 (Table 1)."""
    return nn.Sequential(
        Bottleneck(128),
        Bottleneck(128, kind="dilated", dilation=2),
        Bottleneck(128, kind="asymmetric"),
        Bottleneck(128, kind="dilated", dilation=4),
        Bottleneck(128),
        Bottleneck(128, kind="dilated", dilation=8),
        Bottleneck(128, kind="asymmetric"),
        Bottleneck(128, kind="dilated", dilation=16),
    )


class ENet(nn.Module):
    """ENet (Table 1): (N, 3, H, W) → logits (N, num_classes, H, W); the last transposed convolution emits full size.

    What the text leaves open, and what stands here: that last kernel is 3×3, as all of its kind are said to be;
    the branch of a bottleneck that changes the width is a quarter of the width
    that goes out; odd maps are rounded up when halved. No convolution before a norm has a bias.
    """

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__()
        refuse_auxiliary(self, auxiliary)
        self.initial = Initial()
        self.down_1 = Downsample(16, 64, dropout=0.01)
        self.section_1 = nn.Sequential(*(Bottleneck(64, dropout=0.01) for _ in range(4)))
        self.down_2 = Downsample(64, 128, dropout=0.1)
        self.section_2, self.section_3 = _section(), _section()
        self.up_4 = Upsample(128, 64)
        self.section_4 = nn.Sequential(Bottleneck(64), Bottleneck(64))
        self.up_5 = Upsample(64, 16)
        self.section_5 = Bottleneck(16)
        self.logits = _transposed(16, num_classes, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, num_classes, H, W)."""
        at_2 = self.initial(image)
        at_4, position_4 = self.down_1(at_2)
        at_4 = self.section_1(at_4)
        at_8, position_8 = self.down_2(at_4)
        y = self.section_3(self.section_2(at_8))
        y = self.section_4(self.up_4(y, position_8, int(at_4.shape[2]), int(at_4.shape[3])))
        y = self.section_5(self.up_5(y, position_4, int(at_2.shape[2]), int(at_2.shape[3])))
        return self.logits(y, output_size=[int(image.shape[2]), int(image.shape[3])])
