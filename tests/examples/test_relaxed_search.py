"""The thirty-line search runs, and comes out near the latency that it was given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def test_it_reaches_its_goal(root: Path, tmp_path: Path) -> None:
    goal_ms = 4.5
    script = root / "examples" / "relaxed_search.py"
    env = {**os.environ, "LATENCY_DB_URL": str(tmp_path / "empty.db")}
    done = subprocess.run(
        [sys.executable, str(script), str(goal_ms)], env=env, cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    *_, last = re.findall(r"relaxed (\d+\.\d+) ms", done.stdout)
    assert float(last) == pytest.approx(goal_ms, rel=0.1)
    code = script.read_text(encoding="utf-8").split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
