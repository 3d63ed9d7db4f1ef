"""What is timed: the key of one operator instance. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, int, int, int]


def ceil_div(a: int, b: int) -> int:
    """⌈a / b⌉ for positive integers."""
    return -(-a // b)


@dataclass(frozen=True, order=True)
class ImageSize:
    """Height and width of the network's input in pixels."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> ImageSize:
        """Read ``"1024x2048"`` (height × width).

        Raises:
            ValueError: not two whole numbers, or smaller than 64.
        """
        parts = text.lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"image size {text!r} is not HEIGHTxWIDTH, as in 1024x2048")
        height, width = map(int, parts)
        if height < 64 or width < 64:
            raise ValueError(f"image size {text!r} is below the smallest, 64x64")
        return cls(height, width)

    def at(self, s: int) -> tuple[int, int]:
        """Height and width of a feature map at downsample rate ``s``: every halving rounds up."""
        return ceil_div(self.height, s), ceil_div(self.width, s)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True, order=True)
class OpSpec:
    """One operator instance.

    Attributes:
        op: the operator's name, as its space defines it (``conv_x2``, ``zoomed_conv``, …).
        s: downsample rate of its (finest) input relative to the image.
        c_in: channels that come in, over all inputs together.
        c_out: channels that go out.
        stride: 1, or 2 where the operator halves the resolution.
        image: the network's input size; with ``s`` it gives the feature map's.
        batch: images at once.
        branches: how many feature maps an operator that joins branches takes; 1 for every other.
    """

    op: str
    s: int
    c_in: int
    c_out: int
    stride: int
    image: ImageSize
    batch: int = 1
    branches: int = 1

    def __post_init__(self) -> None:
        for name in ("s", "c_in", "c_out", "stride", "batch", "branches"):
            if getattr(self, name) < 1:
                raise ValueError(f"OpSpec.{name} must be positive, not {getattr(self, name)}")

    @property
    def chi_in(self) -> int | None:
        """Expansion ratio χ of the input width, where that is a multiple of s."""
        return self.c_in // self.s if self.c_in % self.s == 0 else None

    @property
    def chi_out(self) -> int | None:
        """Expansion ratio χ of the output width (c_out = s · stride · χ), where it is a whole number."""
        scale = self.s * self.stride
        return self.c_out // scale if self.c_out % scale == 0 else None

    @property
    def name(self) -> str:
        """Short and readable: ``conv_x2 s8 64→128 /2 @1024x2048``."""
        stride = " /2" if self.stride == 2 else ""
        batch = f" n{self.batch}" if self.batch != 1 else ""
        branches = f" b{self.branches}" if self.branches != 1 else ""
        return f"{self.op} s{self.s} {self.c_in}→{self.c_out}{stride}{branches}{batch} @{self.image}"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """NCHW shape of every input, in the order in which the operator takes them."""
        height, width = self.image.at(self.s)
        if self.op == MERGE:
            coarse_height, coarse_width = self.image.at(2 * self.s)
            return (
                (self.batch, self.c_out, coarse_height, coarse_width),
                (self.batch, self.c_in - self.c_out, height, width),
            )
        return ((self.batch, self.c_in // self.branches, height, width),) * self.branches

    @property
    def output_shape(self) -> Shape:
        """NCHW shape of the output."""
        if self.op == UPSAMPLE:
            return self.batch, self.c_out, self.image.height, self.image.width
        height, width = self.image.at(self.s)
        return self.batch, self.c_out, ceil_div(height, self.stride), ceil_div(width, self.stride)


# The two operators whose shapes do not follow from the generic rule.
MERGE = "merge"
"""Resize a map of c_out channels from 2s to s, concatenate it with one of c_in − c_out channels, 3×3 convolution."""
UPSAMPLE = "upsample"
"""Bilinear upsampling to the size of the image."""
