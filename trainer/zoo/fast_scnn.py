"""Fast-SCNN: Poudel, Liwicki and Cipolla, "Fast-SCNN: Fast Semantic Segmentation Network", BMVC 2019."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.operators.topology import resize
from trainer.zoo._blocks import Head, PyramidPooling, Supervised, conv, conv_norm, conv_relu

GRIDS = ((1, 1), (2, 2), (3, 3), (6, 6))
"""Pyramid pooling's grids. The paper takes the module from PSPNet and names no others than that network's."""


def separable(c_in: int, c_out: int, *, stride: int = 1) -> nn.Sequential:
    """3×3 over each channel, batch norm, 1×1, batch norm, ReLU: no ReLU between the two (section 3.2.1)."""
    return nn.Sequential(conv_norm(c_in, c_in, stride=stride, groups=c_in), conv_relu(c_in, c_out, 1))


class Bottleneck(nn.Module):
    """The inverted residual of Table 2: 1×1 to t times the channels, 3×3 over each channel, 1×1 without ReLU.

    (N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉); what comes in is added where the shape is kept.
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int = 1, t: int = 6) -> None:
        super().__init__()
        inner = t * c_in
        self.body = nn.Sequential(
            conv_relu(c_in, inner, 1),
            conv_relu(inner, inner, stride=stride, groups=inner),
            conv_norm(inner, c_out, 1),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Run the three, and add."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def bottlenecks(c_in: int, c_out: int, times: int, *, stride: int = 1) -> nn.Sequential:
    """``times`` bottlenecks; the first one carries the stride and changes the width."""
    return nn.Sequential(Bottleneck(c_in, c_out, stride=stride), *(Bottleneck(c_out, c_out) for _ in range(times - 1)))


class FastScnn(Supervised):
    """Fast-SCNN (Table 1): (N, 3, H, W) → logits (N, num_classes, ⌈H/8⌉, ⌈W/8⌉), where that table ends.

    What the text leaves open, and what stands here: the widths inside pyramid pooling (a quarter of its input for each
    grid, as in PSPNet), the rate of the dropout before the last layer (0.1), whether the measured time has an
    upsampling to full size in it (it is not here), and the form of the auxiliary heads (3×3 to 32 channels, 1×1).
    """

    auxiliary_weights: ClassVar[tuple[float, ...]] = (0.4, 0.4)
    """After "learning to downsample" and after the global feature extractor."""

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.learn_to_downsample = nn.Sequential(
            conv_relu(3, 32, stride=2), separable(32, 48, stride=2), separable(48, 64, stride=2)
        )
        self.extract = nn.Sequential(
            bottlenecks(64, 64, 3, stride=2), bottlenecks(64, 96, 3, stride=2), bottlenecks(96, 128, 3)
        )
        self.pyramid = PyramidPooling(128, 32, 128, grids=len(GRIDS), kernel=1)
        # Feature fusion (Table 3): the coarse map is upsampled fourfold, so its convolution is dilated by four.
        self.coarse = nn.Sequential(conv_relu(128, 128, dilation=4, groups=128), conv_norm(128, 128, 1))
        self.fine = conv_norm(64, 128, 1)
        self.classify = nn.Sequential(
            separable(128, 128), separable(128, 128), nn.Dropout(0.1), conv(128, num_classes, 1, bias=True)
        )
        if auxiliary:
            self.auxiliary_heads = nn.ModuleList([Head(64, 32, num_classes), Head(128, 32, num_classes)])

    def run(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits at 1/8, and the maps of 64 channels at 1/8 and of 128 at 1/32."""
        fine = self.learn_to_downsample(image)
        coarse = self.pyramid(self.extract(fine), GRIDS)
        upsampled = resize(coarse, int(fine.shape[2]), int(fine.shape[3]))
        fused = F.relu(self.coarse(upsampled) + self.fine(fine))
        return self.classify(fused), (fine, coarse)
