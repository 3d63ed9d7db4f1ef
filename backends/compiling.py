"""What every backend does the same way between a workload and a program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from backends.errors import BackendError, CompileError

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def compile_errors(workload: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ``CompileError`` that names the workload.

    A sweep over hundreds of workloads must outlive the one that cannot be built, and what a module's forward or a
    runtime raises for it is theirs to choose: this is the one place that catches ``Exception``.

    Args:
        workload: its name, for the message.
    """
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise CompileError(f"{workload}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line with text of an error's message, without terminal colours; its type where it says nothing."""
    lines = (_TERMINAL_CODES.sub("", line).strip() for line in str(error).splitlines())
    text = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
