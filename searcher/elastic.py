"""Leaves of elastic width: one weight at the widest, of which the first channels are used (section 3.1.3 of FasterSeg).

They are injected into the topologies of :mod:`latency_db.operators`, as the plain ones are. What comes in says its own
width; the width that goes out is in a :class:`Width` that all leaves of one operator share, and whoever runs the
operator sets it first (:class:`searcher.elastic_operators.ElasticOperator`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency_db.operators import PlainLeaves


class Width:
    """The channels that the convolutions of one operator emit now."""

    def __init__(self, channels: int) -> None:
        self.channels = channels


class ElasticConv(nn.Module):
    """A convolution of which the first ``x.shape[1]`` input and the first ``width.channels`` output channels are used.

    Args:
        widest: the convolution at full width, whose parameters this one takes over.
        width: what goes out.
    """

    def __init__(self, widest: nn.Conv2d, width: Width) -> None:
        super().__init__()
        self.weight = widest.weight
        self.bias = widest.bias
        self.stride, self.padding, self.dilation = widest.stride, widest.padding, widest.dilation
        self._width = width

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        c_out, c_in = self._width.channels, x.shape[1]
        bias = None if self.bias is None else self.bias[:c_out]
        return F.conv2d(x, self.weight[:c_out, :c_in], bias, self.stride, self.padding, self.dilation)

    @torch.no_grad()
    def copy_to(self, plain: nn.Conv2d) -> None:
        """Give a plain convolution of any width the weights that this one uses at that width."""
        c_out, c_in = plain.weight.shape[:2]
        plain.weight.copy_(self.weight[:c_out, :c_in])
        if plain.bias is not None and self.bias is not None:
            plain.bias.copy_(self.bias[:c_out])


class ElasticNorm(nn.Module):
    """One batch norm per width: statistics at one width say nothing of another (Yu et al., 2018c)."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({str(width): PlainLeaves().norm(width) for width in widths})

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape, by the norm for C channels."""
        return self.norms[str(x.shape[1])](x)

    def copy_to(self, plain: nn.BatchNorm2d) -> None:
        """Give a plain batch norm this one's parameters and statistics at its width."""
        plain.load_state_dict(self.norms[str(plain.num_features)].state_dict())


class ElasticLeaves(PlainLeaves):
    """Makes the leaves of one operator.

    Args:
        widths: the widths that the operator can emit; each gets its own norms. Layers are made as wide as the topology
            asks, so build it at the widest.

    Attributes:
        width: the width in use; the widest at first.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        self._widths = tuple(widths)
        self.width = Width(max(widths))

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
        """An :class:`ElasticConv`, initialized like the plain one at the widest.

        Raises:
            ValueError: a grouped convolution, whose first channels are no grouped convolution of fewer channels.
        """
        if groups != 1:
            raise ValueError(f"a convolution in {groups} groups cannot be elastic")
        widest = super().conv(c_in, c_out, kernel, stride=stride, dilation=dilation, bias=bias)
        assert isinstance(widest, nn.Conv2d)
        return ElasticConv(widest, self.width)

    def norm(self, channels: int) -> nn.Module:
        """An :class:`ElasticNorm` over the operator's widths."""
        return ElasticNorm(self._widths)
