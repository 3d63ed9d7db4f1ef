"""ICNet: Zhao, Qi, Shen, Shi and Jia, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images", ECCV 2018.

The widths are those of the compressed network, half of PSPNet50's, as its authors published them (``hszhao/ICNet``).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.operators.topology import resize
from trainer.zoo._blocks import Supervised, conv, conv_norm, conv_relu, pool_to_bins

GRIDS = (1, 2, 3, 6)
"""Pyramid pooling's grids; here they are resized and added, without convolutions."""


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 to four times the ``inner`` width, and a shortcut: (N, c_in, H, W) → (N, 4 · inner, ⌈H/stride⌉, …).

    The stride is in the first 1×1 convolution, as in PSPNet's Caffe layers.
    """

    def __init__(self, c_in: int, inner: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        c_out = 4 * inner
        self.body = nn.Sequential(
            conv_relu(c_in, inner, 1, stride=stride),
            conv_relu(inner, inner, dilation=dilation),
            conv_norm(inner, c_out, 1),
        )
        same = stride == 1 and c_in == c_out
        self.shortcut: nn.Module = nn.Identity() if same else conv_norm(c_in, c_out, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU of the sum of both ways."""
        return F.relu(self.body(x) + self.shortcut(x))


def bottlenecks(c_in: int, inner: int, times: int, *, dilation: int = 1) -> list[nn.Module]:
    """``times`` bottlenecks at stride 1; the first one changes the width."""
    return [Bottleneck(c_in if index == 0 else 4 * inner, inner, dilation=dilation) for index in range(times)]


class CascadeFeatureFusion(nn.Module):
    """Fuse a coarse map with one of twice its size: → (N, 128, H, W), and the upsampled coarse map."""

    def __init__(self, c_coarse: int, c_fine: int) -> None:
        super().__init__()
        self.coarse = conv_norm(c_coarse, 128, dilation=2)
        self.fine = conv_norm(c_fine, 128, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c_coarse, h, w) and (N, c_fine, H, W); the second result is what the auxiliary loss is taken on."""
        coarse = resize(coarse, int(fine.shape[2]), int(fine.shape[3]))
        return F.relu(self.coarse(coarse) + self.fine(fine)), coarse


class ICNet(Supervised):
    """ICNet (Fig. 2): (N, 3, H, W) → logits (N, num_classes, H, W).

    Computed at 1/4 and upsampled fourfold inside, as the authors' layers for testing do. The image at 1/4 shares its
    first layers with that at 1/2: they are run once, at 1/2, and their map is halved.

    Pyramid pooling's windows are written out for 1025×2049 in the authors' layers; :func:`pool_to_bins` has the same
    ones there but for the grid of three.
    """

    auxiliary_weights: ClassVar[tuple[float, ...]] = (0.16, 0.4)
    """For the branches of 1/4 and 1/2 (cascade label guidance).

    The weights are those of public reproductions; they were not checked against the paper's text.
    """

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            conv_relu(3, 32, stride=2),
            conv_relu(32, 32),
            conv_relu(32, 64),
            nn.MaxPool2d(3, stride=2, padding=1),
            *bottlenecks(64, 32, 3),
            Bottleneck(128, 64, stride=2),
        )
        self.low = nn.Sequential(
            *bottlenecks(256, 64, 3), *bottlenecks(256, 128, 6, dilation=2), *bottlenecks(512, 256, 3, dilation=4)
        )
        self.reduce = conv_relu(1024, 256, 1)
        self.high = nn.Sequential(conv_relu(3, 32, stride=2), conv_relu(32, 32, stride=2), conv_relu(32, 64, stride=2))
        self.fuse_24 = CascadeFeatureFusion(256, 256)
        self.fuse_12 = CascadeFeatureFusion(128, 64)
        self.logits = conv(128, num_classes, 1, bias=True)
        if auxiliary:
            self.auxiliary_heads = nn.ModuleList(conv(width, num_classes, 1, bias=True) for width in (256, 128))

    def run(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and the maps of 256 channels at 1/16 and of 128 at 1/8."""
        height, width = int(image.shape[2]), int(image.shape[3])
        medium = self.shared(resize(image, _half(height), _half(width)))
        low = self.low(resize(medium, _half(int(medium.shape[2])), _half(int(medium.shape[3]))))
        fused, guide_4 = self.fuse_24(self.reduce(_add_pyramid(low)), medium)
        fused, guide_2 = self.fuse_12(fused, self.high(image))
        logits = self.logits(resize(fused, _half(_half(height)), _half(_half(width))))
        return resize(logits, height, width), (guide_4, guide_2)


def _half(size: int) -> int:
    return (size + 1) // 2


def _add_pyramid(x: Tensor) -> Tensor:
    height, width = int(x.shape[2]), int(x.shape[3])
    total = x
    for bins in GRIDS:
        total = total + resize(pool_to_bins(x, bins, bins), height, width)
    return total
