"""Any module as a static-shape ONNX file: batch norms folded, opset 18, the same bytes for the same module."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from backends.onnx_trace import Graph, Node, UntraceableError, trace
from backends.protocol import Array

if TYPE_CHECKING:
    import onnx

OPSET = 18
IR_VERSION = 8  # What came with opset 18: older runtimes refuse newer ones.

_log = logging.getLogger(__name__)


def export_onnx(module: nn.Module, inputs: tuple[Array, ...]) -> bytes:
    """``module``, for inputs of exactly these shapes, as a serialized ONNX model.

    A fast tracer writes the graph; a module that it does not cover goes through ``torch.onnx.export``. Both mean the
    same, and tests compare both with torch. Inputs are named ``input_0``…, outputs ``output_0``….

    Raises:
        ValueError: the module is in training mode.
        Exception: whatever the module's forward or the exporter raises.
    """
    if module.training:
        raise ValueError("the module is in training mode: call eval() first")
    try:
        model = to_model(trace(module, inputs))
    except UntraceableError as reason:
        _log.info("exporting %s by torch.onnx.export: %s", type(module).__name__, reason)
        model = _export_by_dynamo(module, inputs)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def to_model(graph: Graph) -> onnx.ModelProto:
    """A traced graph as an ONNX model."""
    from onnx import TensorProto, helper, numpy_helper

    def infos(values: Sequence[tuple[str, tuple[int, ...]]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values]

    def node_proto(node: Node) -> onnx.NodeProto:
        attributes: dict[str, Any] = dict(node.attributes)
        return helper.make_node(node.op_type, node.inputs, [node.output], name=node.output, **attributes)

    return helper.make_model(
        helper.make_graph(
            [node_proto(node) for node in graph.nodes],
            "workload",
            infos(graph.inputs),
            infos(graph.outputs),
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="latency-db",
    )


def _export_by_dynamo(module: nn.Module, inputs: tuple[Array, ...]) -> onnx.ModelProto:
    """The exporter that covers everything, at about a second an operator."""
    tensors = tuple(torch.from_numpy(array) for array in inputs)
    with torch.no_grad(), _quiet_exporter():
        outputs = module(*tensors)
        count = 1 if isinstance(outputs, torch.Tensor) else len(outputs)
        program: Any = torch.onnx.export(
            module,
            tensors,
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"input_{index}" for index in range(len(tensors))],
            output_names=[f"output_{index}" for index in range(count)],
            external_data=False,
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto
    _strip_origins(model)
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's talk of its own deprecations and of packages it can do without from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip_origins(model: onnx.ModelProto) -> None:
    """Drop stack traces and file names: they differ from checkout to checkout and say nothing about the graph."""
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("doc_string")
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer)
    for item in (*model.graph.node, *values):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
