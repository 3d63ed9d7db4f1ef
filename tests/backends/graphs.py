"""Graphs that no module is exported to."""

from __future__ import annotations

from onnx import TensorProto, helper


def oddity() -> bytes:
    """A graph with an operator that nobody knows."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("input_0", "output_0")]
    graph = helper.make_graph([helper.make_node("Oddity", ["input_0"], ["output_0"])], "odd", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())
