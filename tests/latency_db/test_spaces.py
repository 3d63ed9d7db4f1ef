"""The registry of search spaces, and what any space must do."""

from __future__ import annotations

import json
import random
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from latency_db import spaces
from latency_db.errors import InputError, NotFoundError
from latency_db.keys import ImageSize
from searcher.space import FasterSegSpace


def test_the_built_in_space_takes_the_same_door_as_anyones() -> None:
    assert "fasterseg" in spaces.names()
    assert isinstance(spaces.create("fasterseg"), FasterSegSpace)


def test_an_unknown_space_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match=r"no space 'darts'.*fasterseg"):
        spaces.create("darts")


def test_a_space_whose_package_is_broken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint(name="broken", value="no_such_module_anywhere:Space", group=spaces.GROUP)
    monkeypatch.setattr(spaces, "_entry_points", lambda: {"broken": broken})
    with pytest.raises(NotFoundError, match="broken"):
        spaces.create("broken")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 3}, "depth"),
        ({"layers": 1}, "layers=1"),
        ({"layers": "many"}, "layers"),
        ({"layers": 16.0}, "layers"),
        ({"chis": [True]}, "chis"),
        ({"scales": [8, 32]}, "scales"),
        ({"scales": [16, 32]}, "scales"),
        ({"scales": []}, "scales"),
        ({"scales": 8}, "."),
        ({"chis": []}, "chis"),
        ({"chis": [4, 4]}, "chis"),
        ({"chis": [0]}, "chis"),
        ({"branches": 0}, "branches"),
        ({"branches": 4}, "branches"),
        ({"stem_widths": [32, 64]}, "stem_widths"),
        ({"stem_widths": [32, 64, 0]}, "stem_widths"),
        ({"head_chi": 0}, "head_chi"),
        ({"num_classes": 0}, "num_classes"),
        ({"output": "1/4"}, "output"),
    ],
    ids=str,
)
def test_settings_that_make_no_space_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        spaces.create("fasterseg", **settings)
    assert "'fasterseg'" in str(caught.value)


def test_settings_are_json_where_they_parse_and_text_elsewhere() -> None:
    assert spaces.parse_settings(("layers=8", "scales=[8,16]", "output=full", "output=1/8", "x=a=b")) == {
        "layers": 8,
        "scales": [8, 16],
        "output": "1/8",
        "x": "a=b",
    }


@pytest.mark.parametrize("pair", ["layers", "=8", ""])
def test_what_is_no_setting_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match="NAME=VALUE"):
        spaces.parse_settings((pair,))


def test_a_space_made_from_its_own_settings_is_the_same_space() -> None:
    first = FasterSegSpace(layers=6, chis=(4, 6), branches=3, output="full", num_classes=11)
    settings = json.loads(json.dumps(dict(first.settings)))
    second = spaces.create("fasterseg", **settings)
    assert dict(second.settings) == dict(first.settings)
    assert spaces.digest(first) == spaces.digest(second) != spaces.digest(FasterSegSpace())
    image = ImageSize(64, 64)
    assert list(first.specs(image)) == list(second.specs(image))
    assert first.sample(random.Random(1)) == second.sample(random.Random(1))
