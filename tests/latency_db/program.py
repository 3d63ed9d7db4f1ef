"""The program ``latency-db`` run in the test's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from latency_db.cli import main


def invoke(database: Path | str, *arguments: str) -> Result:
    """Run a command on a database."""
    return CliRunner().invoke(main, ["--db", str(database), *arguments])


def document(database: Path | str, *arguments: str) -> Any:
    """What ``--json`` gives, found to be all there is on standard output."""
    result = invoke(database, *arguments, "--json")
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
