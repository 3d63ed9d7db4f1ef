"""``searcher derive``: of a run's folder, and of what FasterSeg's authors published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from searcher.assembly import make_space
from searcher.cli import main
from searcher.derive import derive
from searcher.parameters import ArchitectureParameters, write_json
from searcher.published import read_published
from searcher.run_folder import RunFolder
from tests.searcher.search_runs import write_run
from tests.searcher.searches import tiny
from tests.searcher.test_published import content_of, written
from trainer.architecture import Architecture


def say(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["--db", "sqlite://", "derive", *map(str, arguments)])


def test_a_runs_networks_are_written_into_its_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=2, finished=False, config=tiny())
    run = RunFolder(folder)
    space = make_space(run.read_config().space, 2)
    parameters = ArchitectureParameters(space.lattice, torch.Generator().manual_seed(0))
    run.parameters.write_text(write_json(parameters))
    result = say(folder)
    assert result.exit_code == 0, result.output
    assert f"{folder / 'student.json'}: " in result.stdout and f"{folder / 'teacher.json'}: " in result.stdout
    student = Architecture.from_json(json.loads(run.student.read_text()))
    finals = [branch.s for branch in student.branches]
    assert student == derive(*parameters.of("student"), finals, space)


@pytest.mark.parametrize(("options", "finals"), [((), (16, 32)), (("--branches", "8,32"), (8, 32))])
def test_a_published_file_is_derived_to_standard_output(
    tmp_path: Path, options: tuple[str, ...], finals: tuple[int, ...]
) -> None:
    path = written(tmp_path, content_of(1))
    result = say(path, *options)
    assert result.exit_code == 0, result.output
    assert Architecture.from_json(json.loads(result.stdout)) == read_published(path).architecture(finals)
    assert "not Table 7" in result.stderr
    assert f"the branch to 1/{finals[1]} enters 1/16 at layer " in result.stderr


def test_a_published_file_is_derived_to_a_file(tmp_path: Path) -> None:
    path, target = written(tmp_path, content_of(0)), tmp_path / "teacher.json"
    result = say(path, "--branches", "8,16", "--output", target)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "Table 7" not in result.stderr, "which is the student's"
    assert "the branch to 1/8 stays there" in result.stderr
    assert Architecture.from_json(json.loads(target.read_text())) == read_published(path).architecture((8, 16))


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    published = written(tmp_path, content_of(1))
    text = tmp_path / "student.json"
    text.write_text("{}")
    for arguments, message in (
        ((tmp_path / "none",), "cannot read"),
        ((text,), "not a published search result, or damaged"),
        ((published, "--branches", "8,9"), "no branch ends at 9"),
        ((published, "--branches", "a"), "no list of final scales"),
        ((published, "-o", tmp_path / "none" / "x.json"), "cannot write"),
        ((tmp_path, "--branches", "8,16"), "the folder of a run"),
        ((tmp_path,), "config"),
    ):
        result = say(*arguments)
        assert result.exit_code in (1, 2), result.output
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 and message in errors[0], result.output


def test_the_published_student_says_where_it_downsamples(shared_dir: Path) -> None:
    result = say(shared_dir / "data/fasterseg/arch_1.pt")
    assert result.exit_code == 0, result.output
    assert (
        "the branch to 1/16 enters 1/16 at layer 14; the branch to 1/32 enters 1/16 at layer 14 and 1/32 at layer 15"
        in (result.stderr)
    )
