"""The authors' published search results: read safely, mapped to our cells, and what they derive to."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latency_db.errors import InputError
from searcher.derive import downsample_positions
from searcher.lattice import Choice
from searcher.published import THEIR_OPERATORS, Published, read_published
from trainer.architecture import Architecture
from trainer.builtin import FASTERSEG_STUDENT, FASTERSEG_STUDENT_32_8

LAYERS = 6


def content_of(index: int, layers: int = LAYERS) -> dict[str, object]:
    """A file of the published kind, with logits that say where they came from."""
    generator = torch.Generator().manual_seed(index)
    widths = 5 if index else 1
    rows = {
        **{f"alpha_{index}_{k}": (layers - k, 5) for k in range(3)},
        **{f"beta_{index}_{k}": (layers - 1 - k, 2) for k in (1, 2)},
        f"ratio_{index}_0": (layers - 1, widths),
        **{f"ratio_{index}_{k}": (layers - k, widths) for k in (1, 2)},
    }
    content: dict[str, object] = {
        key: torch.nn.Parameter(torch.randn(*shape, generator=generator)) for key, shape in rows.items()
    }
    return {**content, "latency12": 6.25, "mIoU12": np.float64(0.06)}


def written(tmp_path: Path, content: object, legacy: bool = True) -> Path:
    path = tmp_path / "arch.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [True, False], ids=["their format", "today's"])
def test_rows_go_to_the_cells_they_stand_for(tmp_path: Path, legacy: bool) -> None:
    content = content_of(1)
    published = read_published(written(tmp_path, content, legacy))
    assert published.role == "student"
    assert published.latencies_ms == {(16, 32): 6.25}
    alpha, beta, gamma = published.logits
    assert (alpha.shape, beta.shape, gamma.shape) == ((LAYERS, 3, 5), (LAYERS, 3, 2), (LAYERS, 3, 5))

    def row(key: str, number: int) -> list[float]:
        tensor = content[key]
        assert isinstance(tensor, torch.Tensor)
        return tensor[number].tolist()

    ops = published.space.lattice.ops
    assert dict(zip(ops, alpha[4, 2].tolist(), strict=True)) == dict(
        zip(THEIR_OPERATORS, row("alpha_1_2", 2), strict=True)
    )
    assert beta[2, 1].tolist() == row("beta_1_1", 0) and beta[5, 2].tolist() == row("beta_1_2", 2)
    assert gamma[3, 0].tolist() == row("ratio_1_0", 3)
    # What leaves (16, l) at stride 1 enters (16, l + 1), what leaves (8, l) at stride 2 enters (16, l + 1).
    assert gamma[3, 1].tolist() == published.gamma_down[3, 0].tolist() == row("ratio_1_1", 3)
    assert gamma[4, 2].tolist() == published.gamma_down[4, 1].tolist() == row("ratio_1_2", 3)
    assert published.gamma_down[0, 0].tolist() == row("ratio_1_1", 0)


def test_the_teacher_is_at_its_widest(tmp_path: Path) -> None:
    published = read_published(written(tmp_path, content_of(0)))
    assert published.role == "teacher"
    widths = {cell.chi for branch in published.architecture((8, 32)).branches for cell in branch.cells[:-1]}
    assert widths == {12}


class Exploit:
    """What a pickle can do where it is simply loaded."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"touch {self.victim}",)


@pytest.mark.parametrize("legacy", [True, False, None], ids=["legacy", "zip", "bare pickle"])
def test_a_malicious_file_runs_nothing(tmp_path: Path, legacy: bool | None) -> None:
    victim = tmp_path / "victim"
    content = {**content_of(1), "mIoU02": Exploit(victim)}
    if legacy is None:
        path = tmp_path / "arch.pt"
        path.write_bytes(pickle.dumps(content["mIoU02"]))
    else:
        path = written(tmp_path, content, legacy)
    with pytest.raises(InputError, match=r"arch\.pt: not a published search result, or damaged \(\w+\)$"):
        read_published(path)
    assert not victim.exists()
    # The same file does run it where anything is let in: the test would see it.
    if legacy is None:
        pickle.loads(path.read_bytes())
        assert victim.exists()


def test_numbers_of_another_kind_are_not_let_in(tmp_path: Path) -> None:
    for number in (np.array([1.0]), np.datetime64("2020-01-01"), np.str_("x")):
        with pytest.raises(InputError, match="damaged"):
            read_published(written(tmp_path, {**content_of(1), "mIoU02": number}))


def test_what_else_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = written(tmp_path, content_of(1)).read_bytes()
    path = tmp_path / "cut.pt"
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged") as raised:
            read_published(path)
        assert "\n" not in str(raised.value)
    path.write_bytes(b"\0" * 2_000_000)
    with pytest.raises(InputError, match="larger than"):
        read_published(path)
    with pytest.raises(InputError, match="cannot read"):
        read_published(tmp_path / "none.pt")
    with pytest.raises(InputError, match="cannot read"):
        read_published(tmp_path)
    for content, message in (
        ([1], "no dictionary"),
        ({"weight": torch.zeros(3)}, "neither alpha_0_0 nor alpha_1_0"),
        ({**content_of(0), **content_of(1)}, "two networks"),
        ({**content_of(1), "alpha_1_0": torch.zeros(3, 5)}, "3 layers"),
        ({**content_of(1), "alpha_1_0": 5}, "0 layers"),
        ({**content_of(1), "alpha_1_2": torch.zeros(4, 4)}, r"alpha_1_2 has shape \(4, 4\), not \(4, 5\)"),
        ({**content_of(1), "beta_1_1": 3}, "beta_1_1 is missing or no tensor"),
        ({**content_of(1), "ratio_1_1": torch.full((5, 5), float("nan"))}, "ratio_1_1 holds"),
        ({**content_of(1), "latency12": "6"}, "latency12 is no"),
    ):
        with pytest.raises(InputError, match=f"not a published search result: .*{message}"):
            read_published(written(tmp_path, content))


def student(shared_dir: Path) -> Published:
    return read_published(shared_dir / "data/fasterseg/arch_1.pt")


def test_both_published_files_are_read(shared_dir: Path) -> None:
    teacher = read_published(shared_dir / "data/fasterseg/arch_0.pt")
    assert (teacher.role, student(shared_dir).role) == ("teacher", "student")
    for published in (teacher, student(shared_dir)):
        assert published.space.lattice.layers == 16
        assert published.latencies_ms == pytest.approx({(16, 32): 6.4139770511, (8, 32): 6.2604673918})


def compact(architecture: Architecture) -> dict[int, list[tuple[int, int, str, int | None]]]:
    """Per final scale its cells without their layers: the paper does not tell them."""
    return {
        branch.s: [(cell.s, cell.stride, cell.op, cell.chi) for cell in branch.cells]
        for branch in architecture.branches
    }


@pytest.mark.parametrize(
    ("finals", "table"), [((16, 32), FASTERSEG_STUDENT), ((8, 32), FASTERSEG_STUDENT_32_8)], ids=["Table 7", "32+8"]
)
def test_at_the_authors_positions_it_is_their_student(
    shared_dir: Path, finals: tuple[int, ...], table: Architecture
) -> None:
    """Every operator and width of Table 7: so rows and columns are read as they were meant."""
    published = student(shared_dir)
    lattice = published.space.lattice
    alpha, _, gamma = published.logits
    branches = []
    for final in finals:
        positions = {8: (), 16: (13,), 32: (10, 14)}[final]
        choices = {}
        for cell in lattice.cells():
            place = cell[1], lattice.scales.index(cell[0])
            downsampled = positions[place[1] - 1 : place[1]] == (place[0],) if place[1] else False
            # They never skip where a branch downsamples.
            leaves = cell[1] + 1 in positions[place[1] : place[1] + 1]
            values = alpha[place].clone()
            if leaves or lattice.is_last(cell):
                values[lattice.ops.index("skip")] = -torch.inf
            choices[cell] = Choice(
                op=lattice.ops[int(values.argmax())],
                chi=None if lattice.is_last(cell) else lattice.chis[int(gamma[place].argmax())],
                downsampled=downsampled,
            )
        branches.append(published.with_their_widths(published.space.architecture(choices, [final])).branches[0])
    found: dict[int, list[tuple[int, int, str, int | None]]] = {}
    for branch in branches:
        found |= compact(replace(table, branches=(branch,)))
    assert found == compact(table)


def test_by_the_joint_argmax_it_downsamples_later_than_theirs(shared_dir: Path) -> None:
    published = student(shared_dir)
    lattice = published.space.lattice
    assert downsample_positions(published.logits.beta, 16, lattice) == (14,)
    assert downsample_positions(published.logits.beta, 32, lattice) == (14, 15)
    branches = published.architecture((16, 32)).branches
    trunk = [
        (0, 8, 1, "conv_x2", 4),
        (1, 8, 1, "conv_x2", 4),
        (3, 8, 1, "zoomed_conv_x2", 4),
        (10, 8, 1, "zoomed_conv_x2", 4),
        (11, 8, 1, "conv_x2", 4),
        (12, 8, 1, "conv_x2", 4),
        (13, 8, 2, "zoomed_conv_x2", 4),
    ]
    assert [[(cell.layer, cell.s, cell.stride, cell.op, cell.chi) for cell in branch.cells] for branch in branches] == [
        [*trunk, (14, 16, 1, "zoomed_conv_x2", 12), (15, 16, 1, "zoomed_conv_x2", None)],
        # One cell of the lattice, at its two strides of two widths, as their search had it.
        [*trunk, (14, 16, 2, "zoomed_conv_x2", 4), (15, 32, 1, "zoomed_conv_x2", None)],
    ]
    for finals, table in (((16, 32), FASTERSEG_STUDENT), ((8, 32), FASTERSEG_STUDENT_32_8)):
        assert compact(published.architecture(finals)) != compact(table)
