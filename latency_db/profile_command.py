"""The command that mends a missing latency."""

from __future__ import annotations

import json
import shlex

from backends.gpu_clocks import LOCKED_CLOCK
from backends.protocol import Target
from latency_db import spaces
from latency_db.keys import ImageSize
from latency_db.space import Space


def profile_command(target: Target, space: Space, image: ImageSize, batch: int) -> str:
    """What measures the operators on that very target."""
    command = f"latency-db profile --backend {target.backend} --device {target.device} --image-size {image}"
    for setting, chosen in sorted(target.settings.items()):
        command += f" --lock-clocks {chosen}" if setting == LOCKED_CLOCK else f" --setting {setting}={chosen}"
    if space.name != "fasterseg":
        command += f" --space {space.name}"
    default = spaces.create(space.name).settings if space.name in spaces.names() else {}
    for name, value in space.settings.items():
        if value != default.get(name):
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            command += f" --space-setting {shlex.quote(f'{name}={text}')}"
    return command if batch == 1 else f"{command} --batch {batch}"
