"""projector.onnx: features of tiles and a token plan -> visual tokens: two linears, the newline row, the pooling.

Axes: N tiles, P patches of a tile, D width, R source rows (all patches, then the newline), T visual tokens.
Mirrors ovexport/model/projector.py and OneVision.pool; the plan carries all of the geometry, the graph none.
"""

from __future__ import annotations

from onnx import FunctionProto, helper

from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.forms import Linear
from ovexport.graphs.ort import OrtForms
from ovexport.model.config import OneVisionConfig
from ovexport.precision import weights as W

POOL_DOMAIN = "trt.plugins"  # the name under which TensorRT finds the plugin, and ONNX Runtime the function below
POOL = "BilinearTokenPool"


def build_projector(forms: OrtForms, config: OneVisionConfig, linear_form: str) -> GraphBuilder:
    """`features`, `indices` [T, 4] int32, `weights` [T, 4] float32 -> `image_embeds` [T, D] float32."""
    b, hidden, wide = forms.builder, config.language.hidden, config.vision.hidden
    features = b.input("features", "float32", ["tiles", config.vision.patches_per_side**2, wide])
    indices = b.input("indices", "int32", ["tokens", 4])
    weights = b.input("weights", "float32", ["tokens", 4])
    first = Linear(names=("projector.linear_1",), rows=hidden, columns=wide, bias=True, form=linear_form)
    second = Linear(names=("projector.linear_2",), rows=hidden, columns=hidden, bias=True, form=linear_form)
    x_NPD = forms.linear(forms.gelu_erf(forms.linear(forms.from_float32(features), first)), second)
    patches_RD = b.op("Reshape", [x_NPD, b.const([-1, hidden])])
    newline = b.weight("image_newline", W.array(forms.source, "image_newline", forms.dtype, (1, hidden)))
    rows_RD = b.op("Concat", [patches_RD, newline], axis=0)
    b.functions.append(token_pool_function())
    embeds_TD = b.op(POOL, [rows_RD, indices, weights], domain=POOL_DOMAIN)
    b.output(forms.to_float32(embeds_TD), "image_embeds", "float32", ["tokens", hidden])
    return b


def token_pool_function() -> FunctionProto:
    """BilinearTokenPool as a function of standard operators, inlined when ONNX Runtime loads the graph.

    One Gather and a row-vector product per token: the fastest of the forms tried (docs/log.md), at twice the peak
    memory of four Gathers.
    """
    nodes = [
        helper.make_node("Gather", ["rows_RD", "indices_T4"], ["sources_T4D"], axis=0),
        helper.make_node("CastLike", ["weights_T4", "rows_RD"], ["cast_T4"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("Unsqueeze", ["cast_T4", "axis"], ["weights_T14"]),
        helper.make_node("MatMul", ["weights_T14", "sources_T4D"], ["pooled_T1D"]),
        helper.make_node("Squeeze", ["pooled_T1D", "axis"], ["pooled_TD"]),
    ]
    opsets = [helper.make_opsetid("", 21)]
    inputs = ["rows_RD", "indices_T4", "weights_T4"]
    return helper.make_function(POOL_DOMAIN, POOL, inputs, ["pooled_TD"], nodes, opsets)
