"""Anyone's module may fail in any way: one line says where."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from backends.errors import BackendError, CompileError
from latency_db.errors import InputError
from trainer.inference import run_network
from trainer.networks import find_network
from trainer.training.assembly import make_network, resolve
from trainer.training.config import NetworkConfig, build_config

FILES = {
    "syntax": ("def net(n):\n    return (", "SyntaxError"),
    "name": ("net = undefined", "NameError"),
    "factory": ("def net(n):\n    raise RuntimeError('no\\nway')", "RuntimeError: no"),
    "arguments": ("def net():\n    pass", "TypeError"),
    "lacking": ("", "no attribute"),
}


@pytest.mark.parametrize("which", FILES)
def test_a_module_that_cannot_be_made_is_one_line(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, reason = FILES[which]
    (tmp_path / f"own_{which}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CompileError, match=reason) as caught:
        find_network(f"own_{which}:net").build(3)
    assert f"own_{which}:net" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_nowhere_is_one_line() -> None:
    with pytest.raises(BackendError, match="PYTHONPATH"):
        find_network("certainly_not_there:net").build(3)


class WrongShapes(nn.Module):
    """Its second layer takes other channels than its first gives."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, num_classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return y


def test_layers_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(CompileError, match="RuntimeError") as caught:
        run_network(WrongShapes().eval(), torch.zeros(1, 3, 8, 8), 3)
    assert "\n" not in str(caught.value)


def test_they_are_found_before_a_training_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from torch import nn\ndef net(n):\n    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, n, 1))\n"
    (tmp_path / "own_shapes.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = build_config({"network": {"name": "own_shapes:net"}, "data": {"crop": [32, 32]}})
    with pytest.raises(InputError, match=r"cannot be trained on .* crops of 32x32") as caught:
        make_network(config, resolve(config.network), 3)
    assert caught.value.hint is None


def test_a_width_beyond_reason_is_one_line() -> None:
    with pytest.raises(InputError, match="--chi 1000001"):
        resolve(NetworkConfig(name="fasterseg-student", chi=1_000_001))
