"""The leaf layers that operators are made of."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class Leaves(Protocol):
    """Makes the leaf layers. Another family of leaves makes another kind of operator out of the same topology."""

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Module:
        """A convolution with "same" padding: the output is ⌈size / stride⌉."""

    def norm(self, channels: int) -> nn.Module:
        """A normalization over the channels."""


class PlainLeaves:
    """Ordinary layers of fixed width."""

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Module:
        """``nn.Conv2d``, initialized for a ReLU after it (He et al., 2015), so that activations keep their scale."""
        padding = dilation * (kernel // 2)
        layer = nn.Conv2d(
            c_in, c_out, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias
        )
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer

    def norm(self, channels: int) -> nn.Module:
        """``nn.BatchNorm2d``."""
        return nn.BatchNorm2d(channels)
