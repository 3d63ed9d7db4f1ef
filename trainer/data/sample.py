"""One image and its label, and what gives them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

from PIL import Image

IGNORE = 255
"""The label of pixels that have no class: no loss and no metric counts them."""


class Size(NamedTuple):
    """An image's height and width in pixels."""

    height: int
    width: int


class Sample(NamedTuple):
    """An image and its label before augmentation, both of the same size.

    Attributes:
        image: mode RGB.
        label: mode L; class indices and :data:`IGNORE`.
    """

    image: Image.Image
    label: Image.Image


class Source(Protocol):
    """Where samples come from. Knows no torch, and must survive being pickled: workers get a copy."""

    @property
    def name(self) -> str:
        """The data set's name, as :func:`trainer.data.open_dataset` takes it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; a class's index is its label."""

    @property
    def size(self) -> Size:
        """The size of the first sample; those of a folder may differ in size."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample:
        """Sample ``index``.

        Raises:
            DataError: a file cannot be read, or is not what the layout promises.
        """

    def read_label(self, index: int) -> Image.Image:
        """The label of :meth:`read`, without its image where that is cheaper."""

    def resized(self, size: Size) -> Self:
        """The same samples brought to ``size``."""

    def limited(self, count: int) -> Self:
        """The first ``count`` samples.

        Raises:
            DataError: there are not so many.
        """
