"""The type of every edge of a graph, from its inputs and initializers on. Needs no bytes of weights."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import TensorProto

from ovexport.graphs.token_pool import POOL_DOMAIN

_INT64 = ("Shape", "Size", "ArgMax", "ArgMin")
_BOOL = ("Less", "Greater", "GreaterOrEqual", "LessOrEqual", "Equal", "And", "Or", "Not")


def dtypes_of_edges(model: onnx.ModelProto) -> dict[str, int]:
    """TensorProto's data type by name. The infererence of onnx itself stops at the plugin's node."""
    dtypes = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    dtypes |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        dtype = _result(node, [dtypes.get(name, TensorProto.UNDEFINED) for name in node.input])
        dtypes |= {name: dtype for name in node.output if name}
    return dtypes


def _result(node: onnx.NodeProto, inputs: list[int]) -> int:
    if node.domain == POOL_DOMAIN:
        return inputs[0]
    if node.op_type in _INT64:
        return int(TensorProto.INT64)
    if node.op_type in _BOOL:
        return int(TensorProto.BOOL)
    special: dict[str, Callable[[], int]] = {
        "Cast": lambda: next(int(a.i) for a in node.attribute if a.name == "to"),
        "Where": lambda: inputs[1],
        "DequantizeLinear": lambda: inputs[1],
        "ConstantOfShape": lambda: next((a.t.data_type for a in node.attribute), int(TensorProto.FLOAT)),
        "Constant": lambda: next((a.t.data_type for a in node.attribute if a.name == "value"), 0),
    }
    return special.get(node.op_type, lambda: inputs[0])()
