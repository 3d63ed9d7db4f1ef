"""The rows of Table 3 as switches."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency_db.errors import InputError
from tests.trainer.training.trainings import tiny, write_architecture
from trainer.builtin import FASTERSEG_STUDENT
from trainer.training.ablations import fix_chi, keep_branches
from trainer.training.assembly import resolve


def test_one_branch_keeps_all_of_its_cells() -> None:
    (branch,) = keep_branches(FASTERSEG_STUDENT, [16]).branches
    assert branch == next(one for one in FASTERSEG_STUDENT.branches if one.s == 16)


def test_a_branch_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no branch that ends at 1/8: they end at 16, 32"):
        keep_branches(FASTERSEG_STUDENT, [8])


def test_a_fixed_width_is_every_cell_s_but_the_last_s() -> None:
    for branch in fix_chi(FASTERSEG_STUDENT, 8).branches:
        assert {cell.chi for cell in branch.cells[:-1]} == {8}
        assert branch.cells[-1].chi is None


def test_the_settings_do_both(tmp_path: Path) -> None:
    file = write_architecture(tmp_path / "net.json")
    found = resolve(tiny(str(file), network={"branches": [16], "chi": 3}).network)
    assert found.architecture is not None
    assert [branch.s for branch in found.architecture.branches] == [16]
    assert found.architecture.branches[0].cells[0].chi == 3


def test_a_network_of_the_zoo_has_nothing_to_take_away() -> None:
    with pytest.raises(InputError, match="fast-scnn is no architecture"):
        resolve(tiny("fast-scnn", network={"chi": 4}).network)
