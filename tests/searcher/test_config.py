"""Configurations: files and options, in which order, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency_db.errors import InputError
from searcher.config import build_config
from trainer.runs.tables import RESUMABLE, differences, read_tables

DEVICE = {"latency": {"device": "1080ti"}}


def test_later_layers_win_value_by_value() -> None:
    config = build_config(DEVICE, {"schedule": {"batch_size": 5}}, {"schedule": {"search_epochs": 7}})
    assert (config.schedule.batch_size, config.schedule.search_epochs) == (5, 7)
    assert config.latency.device == "1080ti"


def test_a_file_says_everything_exactly(tmp_path: Path) -> None:
    config = build_config(
        DEVICE,
        {"latency": {"weights": [0.1, 0.2, 0.7], "target_ms": 1 / 3}, "data": {"size": [64, 128]}},
        {"space": {"layers": 5, "chis": [2, 3], "output": "full"}},
    )
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    again = build_config(read_tables(path))
    assert again == config
    assert differences(again, config, RESUMABLE) == []


def test_differences_leave_out_what_may_change() -> None:
    one = build_config(DEVICE, {"run": {"threads": 1, "seed": 1}, "data": {"workers": 0}})
    other = build_config(DEVICE, {"run": {"threads": 2, "seed": 2}, "data": {"workers": 4}})
    assert differences(one, other, RESUMABLE) == ["run.seed"]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({}, "--device"),
        ({"latency": {"device": "x", "factr": 1}}, "latency.factr"),
        ({"latency": {"device": "x", "image_size": "big"}}, "latency.image_size"),
        ({"latency": {"device": "x", "tolerance": 2}}, "latency.tolerance"),
        ({**DEVICE, "schedule": {"learning_rate": "fast"}}, "schedule.learning_rate"),
        ({**DEVICE, "schedule": {"search_epochs": 0}}, "schedule.search_epochs"),
        ({**DEVICE, "space": {"num_classes": 3}}, "num_classes"),
        ({**DEVICE, "sapce": {"layers": 3}}, "sapce"),
        ({**DEVICE, "run": 3}, "run"),
    ],
)
def test_what_is_wrong_is_named(tables: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        build_config(tables)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[latency\n")
    with pytest.raises(InputError, match=r"x\.toml is no TOML"):
        read_tables(path)
    with pytest.raises(InputError, match="cannot read"):
        read_tables(tmp_path / "none.toml")
