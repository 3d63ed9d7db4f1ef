"""A program run in the test's own process: ``latency-db``, or another one that takes ``--db``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from latency_db.cli import main


def invoke(database: Path | str, *arguments: str, program: click.Command = main) -> Result:
    """Run a command on a database."""
    return CliRunner().invoke(program, ["--db", str(database), *arguments])


def document(database: Path | str, *arguments: str, program: click.Command = main) -> Any:
    """What ``--json`` gives, found to be all there is on standard output."""
    result = invoke(database, *arguments, "--json", program=program)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def the_line(result: Result) -> str:
    """The one line that a mistake is worth."""
    assert result.exit_code not in (0, None), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ") and len(lines[0]) < 500
    assert result.stdout == ""
    return lines[0]
