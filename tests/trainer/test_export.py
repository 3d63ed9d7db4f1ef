"""``trainer export``: what is written is what torch computes, or nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latency_db.errors import InputError
from latency_db.keys import ImageSize
from tests.latency_db.program import the_line
from tests.trainer.measuring import invoke
from trainer import export as exporting
from trainer.export import TOLERANCE, ExportError, export_checked
from trainer.networks import find_network
from trainer.subject import find_subject
from trainer.trained import Trained, save_trained

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SMALL = ImageSize(64, 64)
CLASSES = ("road", "car", "sky")


def trained_norms(module: nn.Module) -> nn.Module:
    """The module with norms that do something, as trained ones do."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            nn.init.normal_(norm.running_mean, std=0.1, generator=generator)
            nn.init.uniform_(norm.running_var, 0.5, 2.0, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 2.0, generator=generator)
    return module.eval()


def run(path: Path, image: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    return np.asarray(logits)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The folder of a training of the student."""
    folder = tmp_path / "run"
    folder.mkdir()
    spec = find_network("fasterseg-student")
    module = trained_norms(spec.build(len(CLASSES)))
    save_trained(folder / "model.pt", Trained(spec=spec, classes=CLASSES, module=module, dataset="some", size=None))
    return folder


@pytest.mark.parametrize("named", ["run", "run/model.pt"])
def test_a_trained_network_keeps_its_weights(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "student.onnx"
    result = invoke(tmp_path / "no.db", "export", named, "-o", str(path), "--image-size", "64x64")
    assert result.exit_code == 0, result.output
    assert "untrained" not in result.stdout
    found = re.search(r"largest difference from torch: (\S+) of", result.stdout)
    assert found is not None and 0 <= float(found[1]) <= TOLERANCE
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = find_subject(named).build()(image).numpy()
    assert expected.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(run(path, image), expected, atol=TOLERANCE * np.abs(expected).max())
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "Conv" in kinds and "BatchNormalization" not in kinds
    assert not (tmp_path / "no.db").exists()


def test_an_untrained_network_is_said_to_be_untrained(tmp_path: Path) -> None:
    path = tmp_path / "fast.onnx"
    result = invoke(
        tmp_path / "no.db", "export", "fast-scnn", "-o", str(path), "--image-size", "64x128", "--classes", "4"
    )
    assert result.exit_code == 0, result.output
    assert "untrained" in result.stdout
    (output,) = onnx.load(str(path)).graph.output
    assert [one.dim_value for one in output.type.tensor_type.shape.dim] == [1, 4, 8, 16]


def test_one_that_differs_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actual = exporting._run_file
    monkeypatch.setattr(exporting, "_run_file", lambda path, pixels: actual(path, pixels) * (1 + 2 * TOLERANCE))
    with pytest.raises(ExportError, match=r"differs from torch's by 2\.0e-04"):
        export_checked(find_subject("fast-scnn").build(), SMALL, tmp_path / "some.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr(exporting, "_run_file", lambda path, pixels: np.full((1, 19, 8, 8), np.nan, np.float32))
    with pytest.raises(ExportError, match="nan"):
        export_checked(find_subject("fast-scnn").build(), SMALL, path)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("some.onnx", b"older")]


class NormFirst(nn.Module):
    """Its norm follows no convolution, so it stays."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.conv(torch.relu(self.norm(image)))
        return logits


def test_norms_that_cannot_be_folded_are_counted(tmp_path: Path) -> None:
    done = export_checked(trained_norms(NormFirst()), SMALL, tmp_path / "some.onnx")
    assert done.batch_norms == 1 and done.difference <= TOLERANCE


class Pair(nn.Module):
    """No segmentation network."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image, image


def test_what_gives_no_single_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="gives tuple, not one tensor"):
        export_checked(Pair().eval(), SMALL, tmp_path / "some.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_module_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(
        "from torch import nn\n\ndef tiny(num_classes):\n    return nn.Conv2d(3, num_classes, 3, stride=8)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "tiny.onnx"
    result = invoke(tmp_path / "no.db", "export", "own_networks:tiny", "-o", str(path), "--image-size", "64x64")
    assert result.exit_code == 0 and path.exists(), result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothere", "-o", "x.onnx"), "there is no file nothere"),
        (("no.such.module:factory", "-o", "x.onnx"), "cannot import no.such.module:factory"),
        (("fast-scnn", "-o", "no/such/folder/x.onnx", "--image-size", "64x64"), "cannot write no/such/folder/x.onnx"),
        (("fasterseg-student", "-o", "x.onnx", "--image-size", "1x1"), "below the smallest"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in the_line(invoke(tmp_path / "no.db", "export", *arguments))
    assert list(tmp_path.iterdir()) == []


def test_classes_that_differ_from_the_training_are_refused(checkpoint: Path) -> None:
    assert find_subject(str(checkpoint), classes=3).num_classes == 3
    with pytest.raises(InputError, match="trained for 3 classes"):
        find_subject(str(checkpoint), classes=19)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK\x03\x04 no archive")
    assert "Error" in the_line(invoke(tmp_path / "no.db", "export", str(path), "-o", str(tmp_path / "x.onnx")))
