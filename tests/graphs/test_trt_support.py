"""Our graphs pass the table of what TensorRT's parsers accept, and each rule of the table refuses what it is for."""

from __future__ import annotations

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
Nodes = Sequence[onnx.NodeProto]


def graph(
    nodes: Nodes, inputs: dict[str, int], constants: dict[str, np.ndarray | TensorProto] | None = None, opset: int = 20
) -> onnx.ModelProto:
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
        for name, value in (constants or {}).items()
    ]
    last = [helper.make_tensor_value_info(name, FLOAT, None) for name in nodes[-1].output]
    infos = [helper.make_tensor_value_info(name, dtype, None) for name, dtype in inputs.items()]
    made = helper.make_graph(list(nodes), "test", infos, last, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, name=f"the {kind}", **attributes)


def int4(name: str, shape: tuple[int, int]) -> TensorProto:
    return TensorProto(name=name, data_type=TensorProto.INT4, dims=shape)


@pytest.mark.parametrize("precision", list(PRECISIONS["trt"]))
def test_our_graphs_pass(precision: str) -> None:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        for row in GRAPHS["trt"]:
            built = build_graph(row, checkpoint.config, PRECISIONS["trt"][precision], checkpoint.tensor)
            check_parsers(built.model_with_weights(), row.file)


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
KV: dict[str, int] = {"q": HALF, "k": HALF, "v": HALF, "p": HALF}
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
    "attention before 10.14": (
        lambda: graph([node("Attention", ["q", "k", "v"], TRT_decomposable=1)], KV, opset=23),
        "does not know|outside of",
        {"10.3"},
    ),
    "attention over a past": (
        lambda: graph([node("Attention", ["q", "k", "v", "", "p", "p"], TRT_decomposable=1)], KV, opset=23),
        "past",
        NEWER,
    ),
    "attention that may have no kernel": (
        lambda: graph([node("Attention", ["q", "k", "v"])], KV, opset=23),
        "TRT_decomposable",
        NEWER,
    ),
    "attention with softcap": (
        lambda: graph([node("Attention", ["q", "k", "v"], TRT_decomposable=1, softcap=30.0)], KV, opset=23),
        "softcap",
        NEWER,
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
    "a plugin without its version": (
        lambda: graph(
            [node("BilinearTokenPool", ["x", "i", "w"], domain="trt.plugins")], {"x": HALF, "i": INT32, "w": FLOAT}
        ),
        "plugin_version",
        ALL,
    ),
    "a plugin with half weights": (
        lambda: graph(
            [
                node(
                    "BilinearTokenPool",
                    ["x", "i", "w"],
                    domain="trt.plugins",
                    plugin_version="1",
                    plugin_namespace="",
                )
            ],
            {"x": HALF, "i": INT32, "w": HALF},
        ),
        "float32 weights",
        ALL,
    ),
    "a plugin that nobody wrote": (
        lambda: graph(
            [
                node(
                    "TrilinearTokenPool",
                    ["x", "i", "w"],
                    domain="trt.plugins",
                    plugin_version="1",
                    plugin_namespace="",
                )
            ],
            {"x": HALF, "i": INT32, "w": FLOAT},
        ),
        "no plugin",
        ALL,
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_a_parser_refuses_is_refused_with_its_reason(name: str) -> None:
    make, words, versions = REFUSED[name]
    found = [refusal for refusal in refusals(make()) if any(word in refusal.reason for word in words.split("|"))]
    assert {refusal.version for refusal in found} == versions, list(refusals(make()))
    assert versions <= {parser.version for parser in PARSERS}
    with pytest.raises(OVError, match="would refuse"):
        check_parsers(make(), "file.onnx")


def test_the_error_names_file_node_operator_and_reason() -> None:
    with pytest.raises(OVError) as caught:
        check_parsers(REFUSED["two types in a sum"][0](), "decoder.trt.onnx")
    for words in ("decoder.trt.onnx", "10.3", "Add at the Add", "different types"):
        assert words in caught.value.message
