"""DF1-Seg-d8.

Li, Zhou, Pan and Feng, "Partial Order Pruning: For Best Speed/Accuracy Trade-Off in Neural Architecture Search",
CVPR 2019. The backbone DF1 and the decoder were searched; the paper's text draws their kind and lists only some of
their widths. What the text leaves open is taken from the layer lists and logs that its authors published
(``lixincn2015/Partial-Order-Pruning``):

- DF1: stem of 32 and 64 channels at stride 2 each; three basic blocks each of 64, 128 and 256 channels, the first of
  each at stride 2; one basic block of 512 at stride 1. The map is at 1/32.
- Pyramid pooling after it: windows of 32, 16, 8 and 4 positions, 128 channels each, and a 3×3 convolution to 512.
- Decoder: 1×1 "channel controllers" from 1/32, 1/16 and 1/8 to 128, 32 and as many channels as there are classes (19 in
  the lists, and 19 classes in Cityscapes: the text does not say that one follows from the other; it is our reading).
  Going up, the coarse map is brought to the fine one's width by a 1×1 convolution, doubled in size bilinearly,
  concatenated and fused by a 3×3 convolution. The last layer is a 3×3 convolution.
- "d8": the logits stay at 1/8; DF1-Seg without the suffix has the same layers and then an eightfold upsampling.

Ours, where neither says anything: for images whose map is no multiple of a pooling window, the grid has the nearest
whole number of windows. Every convolution but the last has a batch norm, as in the lists before it was folded. No
auxiliary losses: none are mentioned in what is published.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latency_db.operators.topology import resize
from trainer.zoo._blocks import PyramidPooling, basic_blocks, conv, conv_relu, refuse_auxiliary

WINDOWS = (32, 16, 8, 4)
"""Sides of the pyramid's pooling windows, in positions of the map at 1/32."""


class Df1(nn.Module):
    """The backbone: (N, 3, H, W) → maps of 64, 128 and 512 channels at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.stage2 = nn.Sequential(
            conv_relu(3, 32, stride=2), conv_relu(32, 64, stride=2), basic_blocks(64, 64, 3, stride=2)
        )
        self.stage3 = basic_blocks(64, 128, 3, stride=2)
        self.stage4 = nn.Sequential(basic_blocks(128, 256, 3, stride=2), basic_blocks(256, 512, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the stages in order."""
        at_8 = self.stage2(image)
        at_16 = self.stage3(at_8)
        return at_8, at_16, self.stage4(at_16)


class FusionNode(nn.Module):
    """One step up: (N, c_coarse, h, w) and (N, c_fine, H, W) → (N, c_fine, H, W)."""

    def __init__(self, c_coarse: int, c_fine: int) -> None:
        super().__init__()
        self.project = conv_relu(c_coarse, c_fine, 1)
        self.fuse = conv_relu(2 * c_fine, c_fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Project, resize, concatenate, fuse."""
        coarse = resize(self.project(coarse), int(fine.shape[2]), int(fine.shape[3]))
        return self.fuse(torch.cat([fine, coarse], dim=1))


class Df1SegD8(nn.Module):
    """DF1-Seg-d8: (N, 3, H, W) → logits (N, num_classes, ⌈H/8⌉, ⌈W/8⌉), no upsampling after them, as in the original.

    The original doubles sizes in the decoder by transposed convolutions with fixed bilinear weights; away from the
    border this is the same bilinear resize.
    """

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__()
        refuse_auxiliary(self, auxiliary)
        self.backbone = Df1()
        self.pyramid = PyramidPooling(512, 128, 512, grids=len(WINDOWS), kernel=3)
        self.control_32 = conv_relu(512, 128, 1)
        self.control_16 = conv_relu(128, 32, 1)
        self.control_8 = conv_relu(64, num_classes, 1)
        self.fuse_16 = FusionNode(128, 32)
        self.fuse_8 = FusionNode(32, num_classes)
        self.logits = conv(num_classes, num_classes, 3, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, num_classes, ⌈H/8⌉, ⌈W/8⌉)."""
        at_8, at_16, at_32 = self.backbone(image)
        height, width = int(at_32.shape[2]), int(at_32.shape[3])
        grids = [(max(1, round(height / window)), max(1, round(width / window))) for window in WINDOWS]
        context = self.control_32(self.pyramid(at_32, grids))
        fused = self.fuse_16(context, self.control_16(at_16))
        return self.logits(self.fuse_8(fused, self.control_8(at_8)))
