"""A backend for latency-db in thirty lines: onnx's own reference implementation, in plain numpy."""

from backends.runtimes import Runtime, onnx
from backends.simple import KeptWorkload, Run, SimpleBackend

INSTALL = "pip install onnx"  # The command that `latency-db doctor` names where the runtime is missing or broken.


class TemplateBackend(SimpleBackend):
    """What runs, and how."""

    name = "onnx-reference"  # What --backend takes; the same as in setup.cfg.
    runtime = Runtime(module="onnx", has="ModelProto", oldest=(1, 17), before=2, install=INSTALL)
    needs = (onnx(INSTALL),)  # For `workload.onnx`: here it is the runtime itself.

    def load(self, workload: KeptWorkload) -> Run:
        """Called for every visit, outside the clock; what it returns is all that is in the clock."""
        from onnx.reference import ReferenceEvaluator  # Late: listing backends must not import a runtime.

        session = ReferenceEvaluator(workload.onnx)
        feeds = {f"input_{index}": array for index, array in enumerate(workload.inputs())}
        return lambda: session.run(None, feeds)
