"""What the ONNX parsers of TensorRT accept, as a table, so that a graph that a device would refuse is never written.

Sources: docs/operators.md of onnx-tensorrt for TensorRT 10.1 (the nearest published to the 10.3 of JetPack 6.2) and
11.1 and its importer; the headers and the changelog of TensorRT for what came between; ONNX's schemas for the types of
each opset. Not run against a parser: a graph that passes may still be refused. Refused as well is what parses and then
gives something else than was meant (Attention's is_causal behind a cache).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import TensorProto

from ovengines.errors import ExitCode, OVError
from ovexport.graphs.token_pool import PLUGIN_VERSION, POOL, POOL_DOMAIN
from ovexport.graphs.trt_types import dtypes_of_edges

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64})
BOOL = frozenset({TensorProto.BOOL})
NUMBERS = FLOATS | INTEGERS
ANY = NUMBERS | BOOL
WEIGHTS = frozenset({TensorProto.INT8, TensorProto.INT4})

# Types of the first input. Only what a decoder, a tower or a projector may want; anything else is not accepted.
_OPERATORS = {
    **dict.fromkeys(("MatMul", "Gemm", "Conv", "Softmax", "Sigmoid", "Tanh", "Erf", "Exp", "Sqrt", "Pow"), FLOATS),
    **dict.fromkeys(("Reciprocal", "LayerNormalization", "Cos", "Sin"), FLOATS),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Gelu", "ReduceMean", "ReduceSum"), NUMBERS),
    **dict.fromkeys(("ArgMax", "TopK", "Less", "Greater", "GreaterOrEqual", "LessOrEqual", "Equal", "Pad"), NUMBERS),
    **dict.fromkeys(("Concat", "Split", "Slice", "Gather", "GatherElements", "Reshape", "Transpose"), ANY),
    **dict.fromkeys(("Unsqueeze", "Squeeze", "Expand", "Tile", "Shape", "Cast", "Where", "Identity"), ANY),
    **dict.fromkeys(("Constant", "ConstantOfShape", "Range", "Flatten"), ANY),
    **dict.fromkeys(("And", "Or", "Not"), BOOL),
    "DequantizeLinear": WEIGHTS,
}


@dataclass(frozen=True, kw_only=True)
class Parser:
    """One version's parser. `newer`: operators beyond the common table, with the types of their first input."""

    version: str
    opsets: tuple[int, int]
    newer: Mapping[str, frozenset[TensorProto.DataType]]


_FUSED = {"RMSNormalization": FLOATS, "RotaryEmbedding": FLOATS, "TensorScatter": FLOATS, "Attention": FLOATS}
INT4_OPSET = 21  # of ONNX; on paper 10.1 ends at 20, but its importer takes 4-bit weights and so must take this
PARSERS = (
    Parser(version="10.3", opsets=(9, 20), newer={}),
    Parser(version="10.16", opsets=(9, 24), newer=_FUSED),
    Parser(version="11.1", opsets=(9, 24), newer={**_FUSED, "Swish": FLOATS}),
)

MAX_TOP_K = 3840


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a parser would not take a node."""

    version: str
    node: str
    operator: str
    reason: str


def check_parsers(model: onnx.ModelProto, file: str) -> None:
    """Raise OVError (UNEXPECTED) with node, operator and reason if a parser of PARSERS would refuse the graph."""
    for refusal in refusals(model):
        raise OVError(
            ExitCode.UNEXPECTED,
            f"{file}: TensorRT {refusal.version} would refuse {refusal.operator} at {refusal.node}: {refusal.reason}",
            "please report this with the model's config.json",
        )


def refusals(model: onnx.ModelProto) -> Iterator[Refusal]:
    """All that is wrong with a graph, parser by parser. Its initializers need no bytes."""
    graph = _Graph(model)
    for parser in PARSERS:
        for reason in _opset(graph, parser):
            yield Refusal(version=parser.version, node=model.graph.name, operator="graph", reason=reason)
        for node in model.graph.node:
            for reason in _reasons(node, graph, parser):
                yield Refusal(version=parser.version, node=node.name, operator=node.op_type, reason=reason)


class _Graph:
    """What rules ask about names: their types and shapes, which are constants, and the constants' values."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.opset = next((o.version for o in model.opset_import if not o.domain), 0)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.dtypes = dtypes_of_edges(model)
        self.inputs = {value.name for value in model.graph.input}
        self.outputs = {value.name for value in model.graph.output}

    def dtype(self, name: str) -> int:
        return self.dtypes.get(name, TensorProto.UNDEFINED)

    @cached_property
    def shapes(self) -> dict[str, list[int | None]]:
        """As far as ONNX infers them, which ends at the plugin; None for an axis that is free."""
        inferred = onnx.shape_inference.infer_shapes(self._model).graph
        tensors = {
            value.name: value.type.tensor_type
            for value in (*inferred.input, *inferred.value_info)
            if value.type.tensor_type.HasField("shape")
        }
        axes = {name: tensor.shape.dim for name, tensor in tensors.items()}
        free = {name: [d.dim_value if d.HasField("dim_value") else None for d in dims] for name, dims in axes.items()}
        return {**free, **{name: list(tensor.dims) for name, tensor in self.constants.items()}}


def _opset(graph: _Graph, parser: Parser) -> Iterator[str]:
    first, last = parser.opsets
    if any(tensor.data_type == TensorProto.INT4 for tensor in graph.constants.values()):
        last = max(last, INT4_OPSET)
    if not first <= graph.opset <= last:
        yield f"opset {graph.opset} is outside of {first} to {last}"


def _reasons(node: onnx.NodeProto, graph: _Graph, parser: Parser) -> Iterator[str]:
    if node.domain == POOL_DOMAIN:
        yield from _plugin(node, graph)
        return
    if node.domain not in ("", "ai.onnx"):
        yield f"operators of {node.domain} are not parsed"
        return
    accepted = {**_OPERATORS, **parser.newer}.get(node.op_type)
    if accepted is None:
        yield "the parser does not know the operator"
        return
    if node.input and graph.dtype(node.input[0]) not in accepted:
        yield f"its input {node.input[0]} is {_type_name(graph.dtype(node.input[0]))}"
    yield from _schema(node, graph)
    if rule := _RULES.get(node.op_type):
        yield from rule(node, graph)
    if node.op_type in _SAME_TYPES:
        yield from _one_type(node, graph)


def _type_name(dtype: int) -> str:
    return str(TensorProto.DataType.Name(dtype))


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _schema(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    """ONNX's own types: Conv has bfloat16 from opset 22 on, the positions of RotaryEmbedding are int64."""
    try:
        formals = onnx.defs.get_schema(node.op_type, graph.opset).inputs
    except onnx.defs.SchemaError:
        yield f"ONNX does not have it in opset {graph.opset}"
        return
    for index, name in enumerate(node.input):
        type_name, formal = _type_name(graph.dtype(name)), formals[min(index, len(formals) - 1)]  # the last may repeat
        if name and f"tensor({type_name.lower()})" not in formal.types:
            yield f"in opset {graph.opset} its {formal.name} can't be {type_name}"


# A strongly typed network converts nothing by itself. Where's first input is the condition.
_SAME_TYPES = {
    **dict.fromkeys(("MatMul", "Gemm", "Conv", "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Concat"), slice(None)),
    **dict.fromkeys(("Less", "Greater", "GreaterOrEqual", "LessOrEqual", "Equal"), slice(None)),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), slice(None)),
    **dict.fromkeys(("Attention", "RotaryEmbedding"), slice(3)),  # before mask and positions
    "TensorScatter": slice(2),  # before the indices
    "Where": slice(1, None),
}


def _one_type(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    types = {graph.dtype(name) for name in node.input[_SAME_TYPES[node.op_type]] if name}
    if len(types) > 1:
        yield f"its inputs are of different types: {', '.join(sorted(map(_type_name, types)))}"


def _constant_input(index: int, name: str) -> Callable[[onnx.NodeProto, _Graph], Iterator[str]]:
    def rule(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
        if len(node.input) > index and node.input[index] and node.input[index] not in graph.constants:
            yield f"{name} has to be a constant"

    return rule


def _one_output(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    if len([name for name in node.output if name]) > 1:
        yield "only the first output is supported"


def _plugin(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    if node.op_type != POOL:
        yield "there is no plugin of that name"
    version, name_space = (_attributes(node).get(f"plugin_{key}") for key in ("version", "namespace"))
    if version is None or name_space is None:
        yield "plugin_version and plugin_namespace have to be written out for parsers before 10.10"
    elif (version, name_space) != (PLUGIN_VERSION.encode(), b""):
        yield f"the plugin is registered as version {PLUGIN_VERSION} in the empty namespace"
    rows, *plan = (graph.dtype(name) for name in node.input)
    if rows not in FLOATS or plan != [TensorProto.INT32, TensorProto.FLOAT]:
        yield "the plugin takes rows of floats, int32 indices and float32 weights"


def _dequantize(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    codes, scales = (graph.constants.get(name) for name in node.input[:2])
    if codes is None or scales is None:
        yield "weights and scales have to be constants"
        return
    if len(node.input) > 2 and node.input[2]:
        yield "leave the zero point out: it has to be zero"
    if codes.data_type == TensorProto.INT4:
        yield from _int4_blocks(_attributes(node), list(codes.dims), list(scales.dims))
    else:
        yield "weights alone can be quantised to 4 bits; 8-bit ones need 8-bit activations"


def _int4_blocks(attributes: dict[str, object], shape: list[int], scales: list[int]) -> Iterator[str]:
    block_size = attributes.get("block_size", 0)
    if len(shape) != 2 or attributes.get("axis", 1) != 0:
        yield "4-bit blocks are supported along the first axis of a matrix"
    elif not isinstance(block_size, int) or not block_size or shape[0] % block_size or shape[1] % 2:
        yield f"{shape} is not whole blocks of {block_size} and an even number of columns"
    elif scales != [shape[0] // block_size, shape[1]]:
        yield f"{scales} scales do not go with {shape} in blocks of {block_size}"


def _attention(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    yield from _one_output(node, graph)
    if any(node.input[4:]):
        yield "past, present and lengths are not supported: give the whole cache and a mask"
    attributes = _attributes(node)
    if "softmax_precision" in attributes or attributes.get("softcap") or attributes.get("qk_matmul_output_mode"):
        yield "softmax_precision, softcap and qk_matmul_output_mode are not supported"
    if attributes.get("TRT_decomposable") != 1:
        yield "without TRT_decomposable=1 the build fails where no fused kernel exists"
    if attributes.get("is_causal"):
        yield "its causal mask is the upper left one, which is wrong behind a cache: give a mask"
    heads = attributes.keys() & {"q_num_heads", "kv_num_heads"}  # ONNX's sign of three axes
    if heads or any(len(graph.shapes.get(name, "four")) != 4 for name in node.input[:4] if name):
        yield "queries, keys, values and mask have to have four axes"
    if any(node.input[3:4]) and graph.dtype(node.input[3]) not in (TensorProto.BOOL, graph.dtype(node.input[0])):
        yield "the mask has to be bool or of the queries' type"


def _tensor_scatter(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    attributes = _attributes(node)
    if attributes.get("axis", -2) != -2 or attributes.get("mode", b"linear") != b"linear":
        yield "only axis -2 and mode linear are supported"
    if node.input[0] not in graph.inputs or node.output[0] not in graph.outputs:
        yield "the cache has to be an input of the graph, and what comes of it an output"
    shape = graph.shapes.get(node.input[0], [])
    if len(shape) != 4 or shape[2] is None:
        yield "the cache has to have four axes, the third of a fixed size"


def _top_k(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    tensor = graph.constants.get(node.input[1])
    if tensor is None or int(onnx.numpy_helper.to_array(tensor).reshape(-1)[0]) >= MAX_TOP_K:
        yield f"K has to be a constant below {MAX_TOP_K}"


def _gather(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    if graph.dtype(node.input[1]) not in INTEGERS:
        yield "indices have to be int32 or int64"


_RULES: dict[str, Callable[[onnx.NodeProto, _Graph], Iterator[str]]] = {
    "Slice": _constant_input(3, "axes"),
    "ReduceMean": _constant_input(1, "axes"),
    "ReduceSum": _constant_input(1, "axes"),
    "Squeeze": _constant_input(1, "axes"),
    "Unsqueeze": _constant_input(1, "axes"),
    "LayerNormalization": _one_output,
    "RMSNormalization": _one_output,
    "DequantizeLinear": _dequantize,
    "Attention": _attention,
    "TensorScatter": _tensor_scatter,
    "TopK": _top_k,
    "Gather": _gather,
    "GatherElements": _gather,
}
