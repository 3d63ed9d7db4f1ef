"""The contract that every search space keeps, as a test class for its author's own suite. Needs pytest.

Subclass :class:`SpaceContract` in a test module and override ``space`` (and ``image`` if 64×128 is no size for it)::

    class TestMySpace(SpaceContract):
        @pytest.fixture
        def space(self) -> Space:
            return MySpace()
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from latency_db.keys import ImageSize
from latency_db.space import Space

SAMPLES = 20


class SpaceContract:
    """What profiling, validation and prediction rely on."""

    @pytest.fixture
    def space(self) -> Space:
        """The space under test."""
        raise NotImplementedError("override the fixture `space`")

    @pytest.fixture
    def image(self) -> ImageSize:
        """An image size that the space takes."""
        return ImageSize(64, 128)

    def test_settings_are_json(self, space: Space) -> None:
        """Settings are stored with every network, so they survive JSON."""
        assert json.loads(json.dumps(dict(space.settings))) == dict(space.settings)

    def test_specs_are_distinct_and_stable(self, space: Space, image: ImageSize) -> None:
        """Each operator once, in the same order each time, at the size and batch asked for."""
        specs = list(space.specs(image))
        assert specs
        assert len(set(specs)) == len(specs)
        assert list(space.specs(image)) == specs
        assert {spec.image for spec in specs} == {image}
        assert {spec.batch for spec in space.specs(image, batch=2)} == {2}

    def test_sampling_follows_the_seed(self, space: Space) -> None:
        """The same seed draws the same architectures; another seed others."""
        first, again, other = (
            [space.to_json(space.sample(rng)) for _ in range(SAMPLES)]
            for rng in (random.Random(0), random.Random(0), random.Random(1))
        )
        assert first == again
        assert first != other

    def test_json_round_trip(self, space: Space) -> None:
        """Reading what was written gives the same architecture."""
        rng = random.Random(0)
        for _ in range(SAMPLES):
            document = space.to_json(space.sample(rng))
            again = space.from_json(json.loads(json.dumps(document)))
            assert space.to_json(again) == document

    @pytest.mark.parametrize("document", [{}, {"format": "something else"}, {"branches": 3}])
    def test_bad_documents_are_refused(self, space: Space, document: dict[str, object]) -> None:
        """What is no architecture is a ValueError with a message, never something half read."""
        with pytest.raises(ValueError, match=r"\w+"):
            space.from_json(document)

    def test_every_operator_of_a_network_is_in_the_space(self, space: Space, image: ImageSize) -> None:
        """What a network is broken into can be profiled beforehand."""
        specs = set(space.specs(image))
        rng = random.Random(0)
        for architecture in (space.sample(rng) for _ in range(SAMPLES)):
            decomposition = space.decompose(architecture, image)
            assert set(decomposition.specs) <= specs
            count = len(decomposition.specs)
            assert all(0 <= a < b < count for a, b in decomposition.edges)

    def test_built_in_architectures_read_back_and_decompose(self, space: Space, image: ImageSize) -> None:
        """They are not tied to the space's settings, so their operators need not be among its own."""
        for architecture in space.builtin().values():
            assert space.to_json(space.from_json(space.to_json(architecture))) == space.to_json(architecture)
            assert space.decompose(architecture, image).specs

    def test_operators_have_the_shapes_of_their_specs(self, space: Space, image: ImageSize) -> None:
        """The key knows what the module does."""
        import torch

        for spec in space.specs(image):
            module = space.build_operator(spec)
            # On the CPU: on the meta device, torch takes longer to work out one resize than to do a dozen.
            with torch.inference_mode():
                output = module(*(torch.zeros(shape) for shape in spec.input_shapes))
            assert tuple(output.shape) == spec.output_shape, spec.name
            assert not module.training

    def test_networks_run_what_they_decompose_into(self, space: Space, image: ImageSize) -> None:
        """The network has as many parameters as its operators together, runs, and ends in the last one's shape."""
        import torch

        rng = random.Random(0)
        for _ in range(3):
            architecture = space.sample(rng)
            network = space.build(architecture)
            decomposition = space.decompose(architecture, image)
            operators = [space.build_operator(spec) for spec in decomposition.specs]
            assert _parameters([network]) == _parameters(operators)
            with torch.inference_mode():
                output = network(torch.zeros(1, 3, image.height, image.width))
            assert tuple(output.shape) == decomposition.specs[-1].output_shape


def _parameters(modules: Sequence[object]) -> int:
    from torch import nn

    return sum(value.numel() for module in modules if isinstance(module, nn.Module) for value in module.parameters())
