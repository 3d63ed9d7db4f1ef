"""The network that is exported or measured: a trained one by its file, or an untrained one by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_db.errors import InputError
from latency_db.keys import ImageSize
from latency_db.whole_networks import WholeNetwork
from latency_db.workloads import seeded
from trainer.architecture import Architecture
from trainer.networks import NetworkSpec, find_network, is_trained

if TYPE_CHECKING:
    from torch import nn

SPACE = "fasterseg"
"""The plugin, of the group ``latency_db.spaces``, whose networks :class:`~trainer.architecture.Architecture` is."""
CLASSES = 19
"""Of Cityscapes: what networks have where nothing says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network that can be built.

    Attributes:
        spec: what network it is.
        num_classes: channels of its logits.
        trained: the file with its weights, or the folder that has it; None: it is untrained.
    """

    spec: NetworkSpec
    num_classes: int
    trained: Path | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        if self.trained is None:
            return self.spec.name
        return f"{self.spec.name} ({self.trained})"

    @property
    def architecture(self) -> Architecture | None:
        """With its classes, where it is a network of the space."""
        if self.spec.architecture is None:
            return None
        return replace(self.spec.architecture, num_classes=self.num_classes)

    def build(self) -> nn.Module:
        """The module on the CPU, in eval mode, without auxiliary heads; with the same weights each time.

        Raises:
            InputError: it cannot be built, or its file is gone.
        """
        if self.trained is None:
            return seeded(lambda: self.spec.build(self.num_classes), self.spec.name)().eval()
        from trainer.trained import load_trained

        return load_trained(self.trained, network=self.spec).module

    def whole(self, image: ImageSize) -> WholeNetwork:
        """As the database has it at an image size.

        A network of the space has its space's row, so that it is the same network for every program; the rows of others
        belong to no space.
        """
        architecture = self.architecture
        if architecture is None:
            return WholeNetwork(
                name=self.name,
                space=self.spec.kind,
                settings={"num_classes": self.num_classes},
                document=self.spec.to_json(),
                image=image,
                build=self.build,
            )
        return WholeNetwork(
            name=self.name,
            space=SPACE,
            settings=space_settings(architecture),
            document=architecture.to_json(),
            image=image,
            build=self.build,
        )


def space_settings(architecture: Architecture) -> dict[str, Any]:
    """The settings, all of them, of the smallest space with the usual choices that an architecture is of.

    Its own depth, branches, stem, head, classes and output; the usual scales and widths, and its own beyond them.
    """
    from latency_db import spaces

    usual = spaces.create(SPACE).settings
    cells = [cell for branch in architecture.branches for cell in branch.cells]
    scales, chis = usual["scales"], usual["chis"]
    assert isinstance(scales, list) and isinstance(chis, list)
    coarsest = max(*scales, *(cell.s * cell.stride for cell in cells))
    while scales[-1] < coarsest:
        scales = [*scales, 2 * scales[-1]]
    settings: dict[str, Any] = {
        "layers": 1 + max(cell.layer for cell in cells),
        "scales": scales,
        "chis": sorted({*chis, *(cell.chi for cell in cells if cell.chi is not None)}),
        "branches": len(architecture.branches),
        "stem_widths": list(architecture.stem_widths),
        "head_chi": architecture.head_chi,
        "num_classes": architecture.num_classes,
        "output": architecture.output,
    }
    return dict(spaces.create(SPACE, **settings).settings)


def find_subject(
    named: str, *, classes: int | None = None, network: str | None = None, own: Sequence[str] = ()
) -> Subject:
    """The network that a user means.

    Args:
        named: what :func:`~trainer.networks.find_network` takes, the file of a trained network, or the folder of a
            training that has ended. A built-in name or one of the zoo goes before a file of that name.
        classes: channels of the logits of an untrained one. [default: the architecture's own, else 19]
        network: ``package.module:factory`` of a trained module of the user's own.
        own: the same, of which it may be one.

    Raises:
        InputError: it is none of these, or an option does not go with it.
        RunFolderError: the file is damaged.
    """
    if is_trained(named):
        return _trained(Path(named), classes, network, own)
    if network is not None:
        raise InputError(f"--network goes with the file or the folder of a trained network, and {named} is neither")
    spec = find_network(named)
    usual = spec.architecture.num_classes if spec.architecture is not None else CLASSES
    return Subject(spec=spec, num_classes=usual if classes is None else classes)


def _trained(path: Path, classes: int | None, network: str | None, own: Sequence[str]) -> Subject:
    from trainer.trained import load_trained

    kept = load_trained(path, network=None if network is None else find_network(network), own=own)
    if classes is not None and classes != len(kept.classes):
        raise InputError(f"--classes {classes}: {path} was trained for {len(kept.classes)} classes; leave it out")
    return Subject(spec=kept.spec, num_classes=len(kept.classes), trained=path)
