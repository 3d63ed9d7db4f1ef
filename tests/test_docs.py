"""The documentation says what the program does: every command has help, is documented, and README's examples parse."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = _load_generator()
COMMANDS = {
    context.command_path: command
    for program in generator.PROGRAMS
    for context, command in generator.walk(generator.load(program), (program,))
}


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_has_help(path: str) -> None:
    command = COMMANDS[path]
    assert command.help, f"{path} has no help"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{path} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_documented(path: str) -> None:
    page = generator.PAGE.read_text(encoding="utf-8")
    assert re.search(rf"^#+ `{re.escape(path)}`$", page, re.MULTILINE), f"run `make docs`: {path} is not in docs/cli.md"


def test_the_generated_page_is_up_to_date() -> None:
    assert generator.PAGE.read_text(encoding="utf-8") == generator.generate(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name} links to {link}"
            if anchor and target.suffix == ".md":
                assert anchor in _anchors(target), f"{page.name} links to {link}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _console_lines() -> list[str]:
    lines = []
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            joined = block.replace("\\\n", " ")
            lines += [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    return sorted(set(lines))


@pytest.mark.parametrize("line", _console_lines())
def test_documented_commands_exist(line: str) -> None:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"no make target {target}"
    elif program in generator.PROGRAMS:
        check_arguments(program, arguments)


def check_arguments(path: str, words: list[str]) -> None:
    """Follow a command line through the command tree; run nothing and touch no file that it names."""
    command = COMMANDS[path]
    context = click.Context(command, info_name=path)
    options = {
        name: option
        for option in command.get_params(context)
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    given: list[str] = []
    seen: set[str] = set()
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "|":
            break
        if word.startswith("-") and len(word) > 1:
            name, equals, value = word.partition("=")
            assert name in options, f"{path} has no option {name}"
            option = options[name]
            seen.add(option.name or "")
            takes = 0 if option.is_flag or option.count else option.nargs
            values = [value] if equals else [words.pop(0) for _ in range(takes)]
            if isinstance(option.type, click.Choice):
                for item in values:
                    option.type.convert(item, option, context)
        elif isinstance(command, click.Group):
            assert f"{path} {word}" in COMMANDS, f"{path} has no command {word}"
            check_arguments(f"{path} {word}", words)
            return
        else:
            given.append(word)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.required:
            assert parameter.name in seen, f"{path} needs {parameter.opts[0]}"
    positional = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    fewest = sum(argument.nargs for argument in positional if argument.required and argument.nargs > 0)
    most = sum(argument.nargs if argument.nargs > 0 else len(given) for argument in positional)
    assert fewest <= len(given) <= most, f"{path} takes {fewest} to {most} arguments, not {given}"


def _python_blocks() -> dict[str, str]:
    """Page and number → code, of the pages that show how to use the library."""
    found = {}
    for page in ("README.md", "docs/relaxed-latency.md"):
        blocks = re.findall(
            r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        found.update({f"{page}-{number}": block for number, block in enumerate(blocks)})
    return found


@pytest.mark.parametrize("code", _python_blocks().values(), ids=_python_blocks().keys())
def test_python_examples_run(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", code]
    # A database of its own: what the reader has stored must not decide whether the page is right.
    env = {**os.environ, "LATENCY_DB_URL": str(tmp_path / "empty.db")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_checker_refuses_what_does_not_exist() -> None:
    with pytest.raises(AssertionError, match="no option"):
        check_arguments("latency-db", ["--no-such-option"])
    with pytest.raises(AssertionError, match="no command"):
        check_arguments("latency-db", ["no-such-command"])
