"""What int8 takes the ranges of tensors from, where the runtime quantizes by itself (TensorRT up to 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backends.cuda import Cuda
from backends.protocol import Array


def make_calibrator(module: Any, cuda: Cuda, inputs: Mapping[str, Array]) -> Any:
    """A calibrator that shows the workload's own inputs, once.

    Args:
        module: TensorRT.
        cuda: where they are put; ``free_inputs()`` of the calibrator gives the memory back.
        inputs: by name, float32, the batch first.
    """

    class Calibrator(module.IInt8MinMaxCalibrator):  # type: ignore[misc]  # The base is the module's.
        def __init__(self) -> None:
            module.IInt8MinMaxCalibrator.__init__(self)
            self.addresses: dict[str, int] = {}
            self.shown = False

        def get_batch_size(self) -> int:
            return int(next(iter(inputs.values())).shape[0])

        def get_batch(self, names: Sequence[str]) -> list[int] | None:
            if self.shown:
                return None
            self.shown = True
            for name in names:
                self.addresses[name] = cuda.allocate(inputs[name].nbytes)
                cuda.upload(self.addresses[name], np.ascontiguousarray(inputs[name]))
            return [self.addresses[name] for name in names]

        def read_calibration_cache(self) -> None:
            return None

        def write_calibration_cache(self, cache: Any) -> None:
            return None

        def free_inputs(self) -> None:
            while self.addresses:
                cuda.free(self.addresses.popitem()[1])

    return Calibrator()
