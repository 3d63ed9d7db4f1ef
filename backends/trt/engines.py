"""From an ONNX graph to a serialized engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.compiling import compile_errors
from backends.errors import CompileError, InvalidSettingError
from backends.trt.flavours import Api
from backends.trt.half import to_half
from backends.trt.log import log_of

PRECISIONS = ("fp32", "tf32", "fp16", "int8")


def check_precision(api: Api, precision: str) -> None:
    """Refuse what this runtime cannot compute in.

    Raises:
        InvalidSettingError: with the reason.
    """
    if precision == "int8" and api.strongly_typed:
        raise InvalidSettingError(
            f"setting precision='int8' is not possible with {api.flavour.name} {api.version}: it computes in the types "
            "of the graph, and the exported graph has no QuantizeLinear and DequantizeLinear"
        )


def build_engine(
    api: Api,
    graph: bytes,
    *,
    workload: str,
    precision: str,
    capabilities: Sequence[str] | None,
    timing_cache: bytes | None = None,
    calibrator: Callable[[], Any] | None = None,
) -> tuple[bytes, bytes | None]:
    """The serialized engine, and the timing cache after it where one was given.

    Args:
        api: the runtime.
        graph: a serialized ONNX model.
        workload: its name, for messages.
        precision: one of ``PRECISIONS``.
        capabilities: build for these compute capabilities; None for the device that is here.
        timing_cache: a serialized one, or b"" for a new one; None for none.
        calibrator: makes what int8 takes the ranges of tensors from.

    Raises:
        CompileError: the parser or the builder refuses the graph, in its own words.
        InvalidSettingError: a compute capability that the runtime does not build for.
    """
    module, log = api.module, log_of(api.module)
    log.take()
    with compile_errors(workload):
        if precision == "fp16" and api.strongly_typed:
            graph = to_half(graph)
        builder = module.Builder(log)
        network = builder.create_network(api.network_flags)
        parser = module.OnnxParser(network, log)
        if not parser.parse(graph):
            raise CompileError(f"{workload}: {_words(parser)}")
        config = builder.create_builder_config()
        _set_precision(api, config, precision, calibrator)
        _set_capabilities(api, config, capabilities)
        timing = _set_timing_cache(config, timing_cache)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise CompileError(f"{workload}: {'; '.join(log.take()) or 'the builder gave no engine and no reason'}")
        return bytes(engine), None if timing is None else bytes(timing.serialize())


def _words(parser: Any) -> str:
    """What the parser says is wrong, the first line of each error."""
    said = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        description, whole = str(error.desc()), str(error)
        # As a whole it names the node as well.
        lines = (whole if description in whole else description).strip().splitlines()
        said.append(lines[0] if lines else "an error without a description")
    return "; ".join(said) or "the parser refuses the graph and gives no reason"


def _set_precision(api: Api, config: Any, precision: str, calibrator: Callable[[], Any] | None) -> None:
    flag = api.module.BuilderFlag
    # Left alone it is on: then fp32 would mean TF32 on every card since Ampere.
    (config.set_flag if precision == "tf32" else config.clear_flag)(flag.TF32)
    if api.strongly_typed:
        return
    if precision == "fp16":
        config.set_flag(flag.FP16)
    elif precision == "int8":
        if calibrator is None:
            raise InvalidSettingError("setting precision='int8' needs the device: ranges are found by running on it")
        config.set_flag(flag.INT8)
        config.int8_calibrator = calibrator()


def _set_capabilities(api: Api, config: Any, capabilities: Sequence[str] | None) -> None:
    if not api.flavour.builds_ahead:
        return
    members = [api.module.ComputeCapability.CURRENT] if capabilities is None else api.members_of(capabilities)
    config.num_compute_capabilities = len(members)
    for index, member in enumerate(members):
        # It says no by its result; the engine would then be for another device than was asked for.
        if not config.set_compute_capability(member, index):
            raise CompileError(f"{api.flavour.name} {api.version} refuses the compute capability {member.name}")


def _set_timing_cache(config: Any, serialized: bytes | None) -> Any | None:
    if serialized is None:
        return None
    timing = config.create_timing_cache(serialized)
    if not config.set_timing_cache(timing, False):
        timing = config.create_timing_cache(b"")  # Of another device or version: begin a new one.
        config.set_timing_cache(timing, False)
    return timing
