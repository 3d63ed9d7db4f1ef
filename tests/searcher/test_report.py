"""The page of a search can be written at any time of it, and says what came of it."""

from __future__ import annotations

import configparser
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from latency_db.errors import InputError
from searcher import report
from searcher.cli.report import report as report_command
from searcher.history import EPOCHS, RESULT, Derived
from searcher.report import PICTURES, write_report
from tests.searcher.search_runs import search_config, search_result, write_run

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a reader sees of a page that must be well-formed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert not {"href", "onerror", "onload"} & set(values)
        assert tag not in ("script", "iframe", "link")
        if tag == "img":
            self.sources.append(values["src"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the text counts, drawing would be most of the time."""
    monkeypatch.setattr(report, "_drawn", lambda run: ([], None))


def test_a_finished_search_has_all_of_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    page = Page(write_report(folder))
    for words in (
        "Search for 1080ti: run",
        "target hit",
        "8.100 ms, −2.41% from the target of 8.3 ms (tolerance ±5%): the most likely choices take 9.200 ms",
        "3 cells changed",
        "student 1/16 and 1/32 49.0% 8.100 0.4860 chosen",
        "paper (0.001, 0.997, 0.002)",
        "2: road, sky",
        "1080ti trt 5.1.5 fp32",
        "12 of 12",
        "1 h 30 min",
        "[schedule]",
    ):
        assert words in page.text, words
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) >= len(PICTURES)
    for file in PICTURES:
        assert (folder / file).read_bytes().startswith(b"\x89PNG")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_a_search_that_is_not_finished_says_how_far_it_is(tmp_path: Path, epochs: int) -> None:
    folder = write_run(tmp_path / "run", epochs=epochs, finished=False)
    page = Page(write_report(folder, status="interrupted"))
    assert f"interrupted — {epochs} of 12 epochs are done" in page.text
    assert "Which branches" not in page.text
    assert len(page.sources) == len(PICTURES)


@pytest.mark.usefixtures("no_pictures")
def test_networks_that_were_derived_on_the_way_do_not_make_it_finished(tmp_path: Path) -> None:
    write_report(write_run(tmp_path / "run", epochs=5))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "5 of 12 epochs are done; networks were derived on the way" in page
    assert "target hit" not in page


def test_how_it_stands_need_not_be_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=3, finished=False)
    with (folder / EPOCHS).open("ab") as file:
        file.write(b'{"epoch": 3')
    (folder / "run.json").unlink()
    assert "not finished — 3 of 12 epochs" in Page(write_report(folder)).text


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("target_ms", "latency_ms", "words"),
    [
        (8.3, 8.3 * 1.05, "target hit"),
        (8.3, 8.8, "target missed"),
        (None, 8.8, "completed — no latency was asked of the student"),
    ],
)
def test_whether_the_target_was_hit(tmp_path: Path, target_ms: float | None, latency_ms: float, words: str) -> None:
    student = {**vars(search_result().student), "latency_ms": latency_ms, "how": "argmax"}
    folder = write_run(
        tmp_path / "run",
        result={"target_ms": target_ms, "student": Derived(**student)},
        config=search_config(**({} if target_ms else {"target_ms": None})),
    )
    page = Page(write_report(folder))
    assert words in page.text
    assert ("with the most likely choice of every cell" in page.text) == (target_ms is not None)


@pytest.mark.usefixtures("no_pictures")
def test_what_was_not_evaluated_is_a_dash(tmp_path: Path) -> None:
    result = search_result()
    student, teacher = (Derived(**{**vars(one), "miou": None}) for one in (result.student, result.teacher))
    changes = {"student": student, "teacher": teacher, "weights": None, "weights_rule": "none", "candidates": ()}
    page = Page(write_report(write_run(tmp_path / "run", result=changes)))
    assert "None was noted." in page.text
    assert "Student's mIoU –" in page.text


@pytest.mark.usefixtures("no_pictures")
def test_texts_from_outside_are_only_texts(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    student = Derived(**{**vars(search_result().student), "note": evil})
    folder = write_run(tmp_path / "a<b>&c", result={"student": student, "target": evil, "device": evil})
    page = Page(write_report(folder, status=evil))
    assert page.text.count("{{ 7 * 7 }}") >= 3
    assert "a<b>&c" in page.text


def test_without_matplotlib_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    folder = write_run(tmp_path / "run")
    page = Page(write_report(folder))
    assert "No pictures: the picture needs matplotlib" in page.text
    assert not page.sources and not list(folder.glob("*.png"))


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"no folder of a search"):
        write_report(tmp_path)
    folder = write_run(tmp_path / "run")
    (folder / RESULT).write_text("{")
    with pytest.raises(InputError, match=r"result\.json is not JSON"):
        write_report(folder)


@pytest.mark.usefixtures("no_pictures")
def test_the_command_writes_it_and_says_where(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", epochs=3, finished=False)
    done = CliRunner().invoke(report_command, [str(folder)], catch_exceptions=False)
    assert done.stdout.strip() == str(folder / "report.html")
    assert "3 of 12 epochs" in Page(folder / "report.html").text


def test_the_wheel_takes_templates_and_styles_along(root: Path) -> None:
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    for package in ("latency_db", "searcher"):
        patterns = [pattern.strip() for pattern in config["options.package_data"][package].split(",")]
        taken = {path for pattern in patterns for path in (root / package).glob(pattern)}
        needed = {path for suffix in ("*.j2", "*.css") for path in (root / package).rglob(suffix)}
        assert needed and needed <= taken
