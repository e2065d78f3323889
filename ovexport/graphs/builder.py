"""Builds one ONNX graph node by node, with its weights left where they are until the file is written.

A `Weight` is a promise: shape, dtype, and a function that yields its bytes in pieces. So a graph of any size is
built in milliseconds and written with one piece of one tensor in memory (write.py). Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ovengines.bundle.manifest import TensorSpec

MICROSOFT = "com.microsoft"
ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "int4": TensorProto.INT4,
}
ITEM_BITS = {"bfloat16": 16, "int4": 4}  # of the types that NumPy has no name for
IR_VERSION = 10


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A tensor of the graph that is stored outside of it; `pieces` yields arrays that follow one another.

    They hold the bytes as ONNX stores them: bfloat16 as int16, two values of int4 in a byte, the first one low.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[np.ndarray]]

    @property
    def size_bytes(self) -> int:
        bits = ITEM_BITS.get(self.dtype) or 8 * np.dtype(self.dtype).itemsize
        return -(-int(np.prod(self.shape, dtype=np.int64)) * bits // 8)


class GraphBuilder:
    """Collects nodes, inputs, outputs and weights of one graph; `op` returns the names of what a node gives."""

    def __init__(self, name: str, *, opset: int) -> None:
        self.name = name
        self.opsets = {"": opset}
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[TensorSpec] = []
        self.outputs: list[TensorSpec] = []
        self.weights: dict[str, Weight] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.functions: list[onnx.FunctionProto] = []
        self._once: dict[str, str] = {}
        self._scope: list[str] = []
        self._counts: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names of nodes made inside begin with `name`, so that a graph can be read in a viewer."""
        self._scope.append(name)
        yield
        self._scope.pop()

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        self.inputs.append(TensorSpec(name=name, dtype=dtype, shape=tuple(shape)))
        return name

    def output(self, value: str, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declare output `name`; the node that makes `value` is renamed to give it."""
        if value != name:
            for node in self.nodes:
                node.output[:] = [name if o == value else o for o in node.output]
                node.input[:] = [name if i == value else i for i in node.input]
        self.outputs.append(TensorSpec(name=name, dtype=dtype, shape=tuple(shape)))

    def op(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        domain: str = "",
        outputs: int | Sequence[str] = 1,
        **attrs: Any,
    ) -> Any:
        """Add a node; the name of its output, or a tuple of names where `outputs` is more than one."""
        path = self._unique("/".join((*self._scope, kind)))
        if isinstance(outputs, int):
            names = [path if outputs == 1 else f"{path}:{i}" for i in range(outputs)]
        else:
            names = list(outputs)
        self.opsets.setdefault(domain, 1)
        attrs = {k: v for k, v in attrs.items() if v is not None}
        given = list(inputs)
        while given and not given[-1]:  # what is left out at the end is not written
            given.pop()
        self.nodes.append(helper.make_node(kind, given, names, name=path, domain=domain, **attrs))
        return names[0] if len(names) == 1 else tuple(names)

    def once(self, key: str, make: Callable[[], str]) -> str:
        """A value that every layer shares: made by the first that asks, outside of any branch."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def branch(self, name: str, make: Callable[[], Sequence[str]], dtype: str) -> onnx.GraphProto:
        """The nodes that `make` adds, as a graph of their own for an If; what it returns are the branch's outputs."""
        outside, self.nodes = self.nodes, []
        with self.scope(name):
            outputs = make()
        infos = [helper.make_tensor_value_info(output, ONNX_TYPES[dtype], None) for output in outputs]
        graph = helper.make_graph(self.nodes, name, [], infos)
        self.nodes = outside
        return graph

    def const(self, value: Any, dtype: str = "int64") -> str:
        """A small constant, kept inside the graph; equal ones are shared."""
        array = np.asarray(value, dtype)
        for name, known in self.constants.items():
            if known.dtype == array.dtype and np.array_equal(known, array) and known.shape == array.shape:
                return name
        key = f"const_{len(self.constants)}"
        self.constants[key] = array
        return key

    def weight(self, name: str, weight: Weight) -> str:
        """A weight under a name; one given twice (a tied table) is stored once."""
        self.weights.setdefault(name, weight)
        return name

    @property
    def weights_bytes(self) -> int:
        return sum(weight.size_bytes for weight in self.weights.values())

    def model(self) -> onnx.ModelProto:
        """The graph without its weights' bytes; each weight is a name with an external location to be filled in."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [_value_info(t) for t in self.inputs],
            [_value_info(t) for t in self.outputs],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            functions=self.functions,
            ir_version=IR_VERSION,
            producer_name="ovexport",
        )

    def model_with_weights(self) -> onnx.ModelProto:
        """`model`, with every weight's name, type and shape among its initializers, and no bytes."""
        model = self.model()
        for name, weight in self.weights.items():
            model.graph.initializer.add(name=name, data_type=ONNX_TYPES[weight.dtype], dims=weight.shape)
        return model

    def _unique(self, path: str) -> str:
        count = self._counts[path] = self._counts.get(path, 0) + 1
        return path if count == 1 else f"{path}_{count}"


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.dtype], list(spec.shape))
