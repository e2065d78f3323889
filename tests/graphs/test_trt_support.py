"""Our graphs pass the table of what TensorRT's parsers accept, and each rule of the table refuses what it is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.graphs.table import GRAPHS, build_graph
from ovexport.graphs.trt_support import PARSERS, check_parsers, refusals
from ovexport.graphs.trt_types import dtypes_of_edges
from ovexport.precision.policy import PRECISIONS

FLOAT, HALF, INT64, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32
BFLOAT, BOOL = TensorProto.BFLOAT16, TensorProto.BOOL
Nodes = Sequence[onnx.NodeProto]
Types = dict[str, int]


def graph(
    nodes: Nodes,
    inputs: Types,
    constants: dict[str, np.ndarray | TensorProto] | None = None,
    opset: int = 20,
    shapes: dict[str, list[int | str]] | None = None,
) -> onnx.ModelProto:
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        for name, value in (constants or {}).items()
    ]
    last = [helper.make_tensor_value_info(name, FLOAT, None) for name in nodes[-1].output]
    infos = [helper.make_tensor_value_info(name, dtype, (shapes or {}).get(name)) for name, dtype in inputs.items()]
    made = helper.make_graph(list(nodes), "test", infos, last, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, name=f"the {kind}", **attributes)


def int4(name: str, shape: tuple[int, int]) -> TensorProto:
    return TensorProto(name=name, data_type=TensorProto.INT4, dims=shape)


def pool(name: str = "BilinearTokenPool", rows: int = HALF, weights: int = FLOAT, **attributes: Any) -> onnx.ModelProto:
    """The plugin's node; attributes of None are left out."""
    given = {"plugin_version": "1", "plugin_namespace": "", **attributes}
    written = {key: value for key, value in given.items() if value is not None}
    types = {"x": rows, "i": INT32, "w": weights}
    return graph([node(name, ["x", "i", "w"], domain="trt.plugins", **written)], types)


KV_SHAPE: list[int | str] = ["batch", 2, "sequence", 64]


def attend(
    inputs: str = "qkv", types: Types | None = None, shape: list[int | str] = KV_SHAPE, **attributes: Any
) -> onnx.ModelProto:
    """Attention as 10.16 and 11.1 take it, but for what is given; an input of `_` is left out."""
    names = [name.strip("_") for name in inputs]
    all_types = {name: HALF for name in names if name} | (types or {})
    given = {"TRT_decomposable": 1, **attributes}
    return graph([node("Attention", names, **given)], all_types, None, 24, dict.fromkeys(all_types, shape))


def scatter(types: Types | None = None, capacity: int | str = 512, **attributes: Any) -> onnx.ModelProto:
    """A cache that TensorScatter writes to, as 10.16 and 11.1 take it, but for what is given."""
    all_types = {"c": HALF, "x": HALF, "i": INT64} | (types or {})
    shape: list[int | str] = ["batch", 2, capacity, 64]
    return graph([node("TensorScatter", ["c", "x", "i"], **attributes)], all_types, None, 24, {"c": shape})


@pytest.mark.parametrize("precision", list(PRECISIONS["trt"]))
def test_our_graphs_pass(precision: str) -> None:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        for row in GRAPHS["trt"]:
            built = build_graph(row, checkpoint.config, PRECISIONS["trt"][precision], checkpoint.tensor)
            check_parsers(built.model_with_weights(), row.file)


def test_int4_passes_where_no_matrix_has_whole_blocks() -> None:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        language = dataclasses.replace(checkpoint.config.language, hidden=80, head_dim=20, intermediate=176)
        config = dataclasses.replace(checkpoint.config, language=language)
        row = next(row for row in GRAPHS["trt"] if row.role == "decoder")
        model = build_graph(row, config, PRECISIONS["trt"]["int4"], checkpoint.tensor).model_with_weights()
    check_parsers(model, row.file)
    assert not any(tensor.data_type == TensorProto.INT4 for tensor in model.graph.initializer)


@pytest.mark.parametrize("role", ["vision", "projector", "decoder"])
def test_those_of_onnx_runtime_do_not(role: str) -> None:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        row = next(row for row in GRAPHS["ort"] if row.role == role)
        built = build_graph(row, checkpoint.config, PRECISIONS["ort"]["fp16"], checkpoint.tensor)
        with pytest.raises(OVError, match=r"TensorRT 10\.3 would refuse") as caught:
            check_parsers(built.model_with_weights(), row.file)
    assert caught.value.code is ExitCode.UNEXPECTED and row.file in caught.value.message


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int4"])
def test_types_of_edges_are_those_that_onnx_infers(precision: str) -> None:
    """Where onnx's own inference gets to: it stops at the plugin."""
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        for row in GRAPHS["trt"]:
            built = build_graph(row, checkpoint.config, PRECISIONS["trt"][precision], checkpoint.tensor)
            model = built.model_with_weights()
            ours = dtypes_of_edges(model)
            inferred = {
                v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(model).graph.value_info
            }
            assert len(inferred) > 5
            assert {name: ours[name] for name in inferred} == inferred
            for output in model.graph.output:
                assert ours[output.name] == output.type.tensor_type.elem_type, output.name


ALL, NEWER = {"10.3", "10.16", "11.1"}, {"10.16", "11.1"}
REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str, set[str]]] = {
    # name: (graph, words of the reason, versions that refuse it)
    "a contrib operator": (
        lambda: graph([node("FastGelu", ["x"], domain="com.microsoft")], {"x": FLOAT}),
        "com.microsoft are not parsed",
        ALL,
    ),
    "an operator without a row": (
        lambda: graph([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], {"x": FLOAT}),
        "does not know",
        ALL,
    ),
    "attention before 10.14": (attend, "does not know|outside of", {"10.3"}),
    "an operator of a later opset": (
        lambda: graph([node("RMSNormalization", ["x", "s"])], {"x": HALF, "s": HALF}, opset=20),
        "does not have it in opset 20",
        NEWER,
    ),
    "attention over a past": (lambda: attend("qkv_pp"), "past", NEWER),
    "attention that may have no kernel": (lambda: attend(TRT_decomposable=0), "TRT_decomposable", NEWER),
    "attention with softcap": (lambda: attend(softcap=30.0), "softcap", NEWER),
    "attention with a mask of its own": (lambda: attend(is_causal=1), "upper left", NEWER),
    "attention over three axes": (lambda: attend(q_num_heads=4, kv_num_heads=2), "four axes", NEWER),
    "attention over three axes by their shapes": (lambda: attend(shape=["b", "s", 128]), "four axes", NEWER),
    "attention of two types": (lambda: attend(types={"q": FLOAT}), "different types: FLOAT, FLOAT16", NEWER),
    "attention to values of another type": (lambda: attend(types={"v": FLOAT}), "different types", NEWER),
    "attention under a mask of integers": (lambda: attend("qkvm", {"m": INT64}), "bool or of the queries' type", NEWER),
    "attention under a wide mask": (lambda: attend("qkvm", {"m": FLOAT}), "bool or of the queries' type", NEWER),
    "positions of 32 bits": (
        lambda: graph(
            [node("RotaryEmbedding", ["x", "c", "s", "p"])], {"x": HALF, "c": HALF, "s": HALF, "p": INT32}, opset=23
        ),
        "position_ids can't be INT32",
        NEWER,
    ),
    "a norm with weights of another type": (
        lambda: graph([node("RMSNormalization", ["x", "s"])], {"x": HALF, "s": FLOAT}, opset=23),
        "different types",
        NEWER,
    ),
    "a convolution in bfloat16": (
        lambda: graph([node("Conv", ["x", "w"])], {"x": BFLOAT, "w": BFLOAT}),
        "in opset 20 its X can't be BFLOAT16",
        ALL,
    ),
    "opset 21 without its reason": (
        lambda: graph([node("Add", ["x", "x"])], {"x": HALF}, opset=21),
        "outside of 9 to 20",
        {"10.3"},
    ),
    "swish before 11": (
        lambda: graph([node("Swish", ["x"])], {"x": HALF}, opset=24),
        "does not know",
        {"10.3", "10.16"},
    ),
    "an opset of tomorrow": (
        lambda: graph([node("Neg", ["x"])], {"x": HALF}, opset=26),
        "opset 26",
        ALL,
    ),
    "two types in a sum": (
        lambda: graph([node("Add", ["x", "z"])], {"x": HALF, "z": FLOAT}),
        "different types: FLOAT, FLOAT16",
        ALL,
    ),
    "two types in a choice": (
        lambda: graph([node("Where", ["c", "x", "z"])], {"c": TensorProto.BOOL, "x": HALF, "z": FLOAT}),
        "different types",
        ALL,
    ),
    "a square root of integers": (
        lambda: graph([node("Sqrt", ["x"])], {"x": INT64}),
        "is INT64",
        ALL,
    ),
    "axes that are computed": (
        lambda: graph([node("Unsqueeze", ["x", "a"])], {"x": HALF, "a": INT64}),
        "axes has to be a constant",
        ALL,
    ),
    "a norm's second output": (
        lambda: graph([node("LayerNormalization", ["x", "x"], ["y", "mean"])], {"x": FLOAT}),
        "only the first output",
        ALL,
    ),
    "a cache that is no input": (
        lambda: graph(
            [node("Neg", ["x"], ["c"]), node("TensorScatter", ["c", "x", "i"])], {"x": HALF, "i": INT64}, opset=24
        ),
        "cache has to be an input",
        NEWER,
    ),
    "a cache of any capacity": (lambda: scatter(capacity="capacity"), "fixed size", NEWER),
    "an update of another type": (lambda: scatter({"x": FLOAT}), "different types", NEWER),
    "a cache that goes round": (lambda: scatter(mode="circular"), "mode linear", NEWER),
    "a top of thousands": (
        lambda: graph([node("TopK", ["x", "k"], ["y", "i"])], {"x": HALF}, {"k": np.array([4000])}),
        "below 3840",
        ALL,
    ),
    "floats as indices": (
        lambda: graph([node("Gather", ["x", "i"])], {"x": HALF, "i": FLOAT}),
        "indices",
        ALL,
    ),
    "weights that are computed": (
        lambda: graph([node("DequantizeLinear", ["x", "s"], axis=0)], {"x": TensorProto.INT8, "s": HALF}),
        "constants",
        ALL,
    ),
    "blocks of 8 bits": (
        lambda: graph(
            [node("DequantizeLinear", ["w", "s"], axis=0, block_size=64)],
            {},
            {"w": np.ones((128, 4), np.int8), "s": np.ones((2, 4), np.float16)},
            21,
        ),
        "8-bit activations",
        ALL,
    ),
    "a zero point": (
        lambda: graph(
            [node("DequantizeLinear", ["w", "s", "w"], axis=0, block_size=64)],
            {},
            {"w": int4("w", (128, 4)), "s": np.ones((2, 4), np.float16)},
            21,
        ),
        "zero point",
        ALL,
    ),
    "blocks along columns": (
        lambda: graph(
            [node("DequantizeLinear", ["w", "s"], axis=1, block_size=64)],
            {},
            {"w": int4("w", (128, 128)), "s": np.ones((128, 2), np.float16)},
            21,
        ),
        "first axis",
        ALL,
    ),
    "blocks that do not divide": (
        lambda: graph(
            [node("DequantizeLinear", ["w", "s"], axis=0, block_size=96)],
            {},
            {"w": int4("w", (128, 4)), "s": np.ones((2, 4), np.float16)},
            21,
        ),
        "whole blocks",
        ALL,
    ),
    "scales of another matrix": (
        lambda: graph(
            [node("DequantizeLinear", ["w", "s"], axis=0, block_size=64)],
            {},
            {"w": int4("w", (128, 4)), "s": np.ones((2, 6), np.float16)},
            21,
        ),
        "do not go with",
        ALL,
    ),
    "a plugin without its version": (lambda: pool(plugin_version=None), "written out", ALL),
    "a plugin of another version": (lambda: pool(plugin_version="2"), "registered as version 1", ALL),
    "a plugin of another namespace": (lambda: pool(plugin_namespace="ov"), "empty namespace", ALL),
    "a plugin with half weights": (lambda: pool(weights=HALF), "float32 weights", ALL),
    "a plugin over rows of integers": (lambda: pool(rows=INT64), "rows of floats", ALL),
    "a plugin that nobody wrote": (lambda: pool("TrilinearTokenPool"), "no plugin", ALL),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_a_parser_refuses_is_refused_with_its_reason(name: str) -> None:
    make, words, versions = REFUSED[name]
    found = [refusal for refusal in refusals(make()) if any(word in refusal.reason for word in words.split("|"))]
    assert {refusal.version for refusal in found} == versions, list(refusals(make()))
    assert versions <= {parser.version for parser in PARSERS}
    with pytest.raises(OVError, match="would refuse"):
        check_parsers(make(), "file.onnx")


@pytest.mark.parametrize("make", [attend, lambda: attend("qkvm", {"m": BOOL}), lambda: attend("qkvm"), scatter])
def test_what_the_cases_start_from_passes_since_10_16(make: Callable[[], onnx.ModelProto]) -> None:
    assert {refusal.version for refusal in refusals(make())} == {"10.3"}


@pytest.mark.parametrize("rows", [FLOAT, HALF, BFLOAT])
def test_the_plugin_passes(rows: int) -> None:
    check_parsers(pool(rows=rows), "projector.trt.onnx")


def test_opset_21_passes_where_weights_have_4_bits() -> None:
    constants = {"w": int4("w", (128, 4)), "s": np.ones((2, 4), np.float16)}
    check_parsers(graph([node("DequantizeLinear", ["w", "s"], axis=0, block_size=64)], {}, constants, 21), "decoder")


def test_the_error_names_file_node_operator_and_reason() -> None:
    with pytest.raises(OVError) as caught:
        check_parsers(REFUSED["two types in a sum"][0](), "decoder.trt.onnx")
    for words in ("decoder.trt.onnx", "10.3", "Add at the Add", "different types"):
        assert words in caught.value.message
