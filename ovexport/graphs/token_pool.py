"""BilinearTokenPool as a node: a plugin to TensorRT, a function of standard operators to ONNX Runtime.

Axes: R source rows, T visual tokens, D width, 4 sources of a token.
"""

from __future__ import annotations

from onnx import FunctionProto, helper

POOL_DOMAIN = "trt.plugins"  # the name under which TensorRT finds the plugin, and ONNX Runtime the function below
POOL = "BilinearTokenPool"
PLUGIN_VERSION = "1"


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
