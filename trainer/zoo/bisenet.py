"""BiSeNet: Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018.

The paper has it with two context paths: Xception39 (its "BiSeNet1") and ResNet-18 ("BiSeNet2"). The text gives the
modules, not their widths; those are from the layers that its first author published (``yu-changqian/TorchSeg``).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.operators.topology import resize
from trainer.zoo._blocks import Head, Supervised, basic_blocks, conv, conv_norm, conv_relu

WIDTH = 128
"""Channels of the spatial path's output and of everything after the context path's backbone."""


class ResNet18(nn.Module):
    """ResNet-18 without its classifier (He et al., 2016, Table 1).

    (N, 3, H, W) → maps of 128, 256 and 512 channels at 1/8, 1/16 and 1/32.
    """

    widths = (256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_relu(3, 64, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1), basic_blocks(64, 64, 2)
        )
        self.stages = nn.ModuleList(basic_blocks(c_in, 2 * c_in, 2, stride=2) for c_in in (64, 128, 256))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the stages in order."""
        at_8 = self.stages[0](self.stem(image))
        at_16 = self.stages[1](at_8)
        return at_8, at_16, self.stages[2](at_16)


def _separable(c_in: int, c_out: int, *, stride: int = 1, relu: bool = True) -> nn.Sequential:
    # No norm between the two, as in Xception.
    pointwise = conv_relu(c_in, c_out, 1) if relu else conv_norm(c_in, c_out, 1)
    return nn.Sequential(conv(c_in, c_in, 3, stride=stride, groups=c_in), pointwise)


class XceptionBlock(nn.Module):
    """Three separable convolutions, the last to four times the ``inner`` width, and a shortcut."""

    def __init__(self, c_in: int, inner: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _separable(c_in, inner, stride=stride), _separable(inner, inner), _separable(inner, 4 * inner, relu=False)
        )
        self.shortcut: nn.Module = (
            nn.Identity() if stride == 1 else _separable(c_in, 4 * inner, stride=stride, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, 4 · inner, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return F.relu(self.body(x) + self.shortcut(x))


class Xception39(nn.Module):
    """Xception39 without its classifier: (N, 3, H, W) → maps of 64, 128 and 256 channels at 1/8, 1/16 and 1/32."""

    widths = (128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_relu(3, 8, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
        self.stages = nn.ModuleList(
            nn.Sequential(
                XceptionBlock(c_in, inner, stride=2), *(XceptionBlock(4 * inner, inner) for _ in range(times - 1))
            )
            for c_in, inner, times in ((8, 16, 4), (64, 32, 8), (128, 64, 4))
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the stages in order."""
        at_8 = self.stages[0](self.stem(image))
        at_16 = self.stages[1](at_8)
        return at_8, at_16, self.stages[2](at_16)


class AttentionRefinement(nn.Module):
    """Channels weighted by a sigmoid of their means (Fig. 2b), after a 3×3 convolution, as in the repository."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.body = conv_relu(c_in, WIDTH)
        self.attention = conv_norm(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, 128, H, W)."""
        y = self.body(x)
        return y * torch.sigmoid(self.attention(F.adaptive_avg_pool2d(y, 1)))


class FeatureFusion(nn.Module):
    """Both paths concatenated, a 1×1 convolution, and channels added again by their attention (Fig. 2c)."""

    def __init__(self) -> None:
        super().__init__()
        width = 2 * WIDTH
        self.body = conv_relu(width, width, 1)
        # Without batch norm, as the figure has it.
        self.squeeze = conv(width, width, 1)
        self.excite = conv(width, width, 1)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Two maps of (N, 128, H, W) → (N, 256, H, W)."""
        y = self.body(torch.cat([spatial, context], dim=1))
        attention = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return y + y * attention


class _BiSeNet(Supervised):
    """What both have in common; the batch norms of the attentions see one pixel: train on batches of two or more."""

    auxiliary_weights: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    """On the context path at 1/16 and 1/8: the paper's α = 1."""

    def __init__(
        self, backbone: ResNet18 | Xception39, num_classes: int, *, auxiliary_width: int, auxiliary: bool
    ) -> None:
        super().__init__()
        at_16, at_32 = backbone.widths
        self.spatial = nn.Sequential(
            conv_relu(3, 64, 7, stride=2),
            conv_relu(64, 64, stride=2),
            conv_relu(64, 64, stride=2),
            conv_relu(64, WIDTH, 1),
        )
        self.backbone = backbone
        self.tail = conv_relu(at_32, WIDTH, 1)
        self.refine_32, self.refine_16 = AttentionRefinement(at_32), AttentionRefinement(at_16)
        self.smooth_16, self.smooth_8 = conv_relu(WIDTH, WIDTH), conv_relu(WIDTH, WIDTH)
        self.fuse = FeatureFusion()
        self.head = Head(2 * WIDTH, 64, num_classes)
        if auxiliary:
            self.auxiliary_heads = nn.ModuleList(Head(WIDTH, auxiliary_width, num_classes) for _ in range(2))

    def run(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and the context path's maps of 128 channels at 1/16 and 1/8."""
        spatial = self.spatial(image)
        at_8, at_16, at_32 = self.backbone(image)
        # The mean is one pixel: resizing it to the map, as the paper draws it, is adding it everywhere.
        low = self.refine_32(at_32) + self.tail(F.adaptive_avg_pool2d(at_32, 1))
        context_16 = self.smooth_16(resize(low, int(at_16.shape[2]), int(at_16.shape[3])))
        middle = self.refine_16(at_16) + context_16
        context_8 = self.smooth_8(resize(middle, int(at_8.shape[2]), int(at_8.shape[3])))
        logits = self.head(self.fuse(spatial, context_8))
        return resize(logits, int(image.shape[2]), int(image.shape[3])), (context_16, context_8)


class BiSeNetR18(_BiSeNet):
    """BiSeNet with ResNet-18: (N, 3, H, W) → logits (N, num_classes, H, W).

    Computed at 1/8 and upsampled eightfold inside, as Fig. 2a of the paper has it.
    """

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__(ResNet18(), num_classes, auxiliary_width=256, auxiliary=auxiliary)


class BiSeNetX39(_BiSeNet):
    """BiSeNet with Xception39: (N, 3, H, W) → logits (N, num_classes, H, W), upsampled eightfold inside.

    This is the one in FasterSeg's tables: their 105.8 FPS and 69.0 and 68.4 mIoU are the paper's for Xception39.
    """

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__(Xception39(), num_classes, auxiliary_width=128, auxiliary=auxiliary)
