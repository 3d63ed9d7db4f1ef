"""DRN-D-22, the baseline of the BDD data set.

Yu, Koltun and Funkhouser, "Dilated Residual Networks", CVPR 2017. The paper's text defines DRN-A, -B and -C; DRN-D is
the simpler form of DRN-C that its authors published with it (repository ``fyu/drn``): a level that is one block in
DRN-C is one convolution, and the two levels that remove gridding artefacts have no shortcuts.
"""

from __future__ import annotations

from torch import Tensor, nn

from latency_db.operators.topology import resize
from trainer.zoo._blocks import basic_blocks, conv, conv_relu, refuse_auxiliary


class DrnD22(nn.Module):
    """DRN-D-22 with a classifier for every position.

    (N, 3, H, W) → logits (N, num_classes, H, W): computed at 1/8 and upsampled eightfold inside, as the original does.
    The original upsamples by a transposed convolution with fixed bilinear weights; away from the border this is the
    same bilinear resize.
    """

    def __init__(self, num_classes: int, *, auxiliary: bool = False) -> None:
        super().__init__()
        refuse_auxiliary(self, auxiliary)
        self.levels = nn.Sequential(
            conv_relu(3, 16, 7),
            conv_relu(16, 16),
            conv_relu(16, 32, stride=2),
            basic_blocks(32, 64, 2, stride=2),
            basic_blocks(64, 128, 2, stride=2),
            basic_blocks(128, 256, 2, dilation=2),
            basic_blocks(256, 512, 2, dilation=4),
            conv_relu(512, 512, dilation=2),
            conv_relu(512, 512),
        )
        self.logits = conv(512, num_classes, 1, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, num_classes, H, W)."""
        return resize(self.logits(self.levels(image)), int(image.shape[2]), int(image.shape[3]))
