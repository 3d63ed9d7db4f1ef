"""JSON from outside."""

from __future__ import annotations

import json
from typing import Any


def parse(text: str) -> Any:
    """The document.

    Raises:
        ValueError: it is none, or more than Python takes: a number of thousands of digits, lists a thousand deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
