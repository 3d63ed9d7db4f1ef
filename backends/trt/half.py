"""An ONNX graph in half precision, for runtimes that compute in the types that the graph has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backends.errors import CompileError

if TYPE_CHECKING:
    import onnx

# Operators whose result has the type of what they are given. One that is not here is refused, not guessed at.
_FOLLOW = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "Div", "Flatten", "Gemm"),
        *("GlobalAveragePool", "Identity", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Reshape"),
        *("Resize", "Sigmoid", "Slice", "Softmax", "Sub", "Transpose"),
    }
)
_STAY = frozenset({("Resize", 1), ("Resize", 2)})  # The region and the scales are float32 whatever is resized.
_LARGEST = float(np.finfo(np.float16).max)


def to_half(serialized: bytes) -> bytes:
    """The graph with float16 weights and float16 between its operators.

    Inputs and outputs stay float32 and are cast at the border, so that what goes in and comes out is the same at every
    precision.

    Raises:
        CompileError: an operator, a weight or an output that cannot be converted without changing what it means.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_model_from_string(serialized)
    graph = model.graph
    for node in graph.node:
        if node.op_type not in _FOLLOW:
            raise CompileError(f"precision fp16: the types of the operator {node.op_type} cannot be converted")
    for info in (*graph.input, *graph.output):
        if info.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise CompileError(f"precision fp16: {info.name} is not float32")
    _convert_weights(graph)
    inputs = {info.name: f"{info.name}_half" for info in graph.input}
    outputs = {info.name: f"{info.name}_half" for info in graph.output}
    for node in graph.node:
        node.input[:] = [inputs.get(name, outputs.get(name, name)) for name in node.input]
        node.output[:] = [outputs.get(name, name) for name in node.output]
    before = [helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16) for name, half in inputs.items()]
    after = [helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT) for name, half in outputs.items()]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    converted: bytes = model.SerializeToString(deterministic=True)
    return converted


def _convert_weights(graph: onnx.GraphProto) -> None:
    from onnx import TensorProto, numpy_helper

    uses = [(name, (node.op_type, index) in _STAY) for node in graph.node for index, name in enumerate(node.input)]
    stay = {name for name, stays in uses if stays}
    follow = {name for name, stays in uses if not stays}
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name not in follow:
            continue
        values = numpy_helper.to_array(tensor)
        if tensor.name in stay or (values.size and float(np.abs(values).max()) > _LARGEST):
            raise CompileError(f"precision fp16: {tensor.name} does not fit into float16")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
