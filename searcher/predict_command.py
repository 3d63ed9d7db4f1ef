"""The command that predicts a network of a search exactly as the search did."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from searcher.config import SearchConfig


def predict_command(config: SearchConfig, num_classes: int, architecture: Path) -> str:
    """``latency-db predict …``, for a shell; on the database that the search used.

    Args:
        config: of the search.
        num_classes: of its data.
        architecture: the JSON file.
    """
    latency = config.latency
    words = ["latency-db", "predict", str(architecture), "--device", latency.device, "--image-size", latency.image_size]
    if latency.backend is not None:
        words += ["--backend", latency.backend]
    if latency.batch != 1:
        words += ["--batch", str(latency.batch)]
    for name, value in {**config.space, "num_classes": num_classes}.items():
        words += ["--space-setting", f"{name}={json.dumps(value, separators=(',', ':'))}"]
    if latency.predict_missing:
        words.append("--predict-missing")
    if latency.extrapolate:
        words.append("--extrapolate")
    return shlex.join(words)
