"""The graphs of each target: which builder makes each, in the order in which data flows through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ovengines.bundle.manifest import GraphSpec
from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.decoder import build_decoder
from ovexport.graphs.forms import Forms
from ovexport.graphs.ort import OrtForms
from ovexport.graphs.projector import build_projector
from ovexport.graphs.trt import TrtForms
from ovexport.graphs.vision import build_vision
from ovexport.graphs.write import data_file_name
from ovexport.model.config import OneVisionConfig
from ovexport.precision.policy import Policy
from ovexport.precision.weights import TensorSource


@dataclass(frozen=True, kw_only=True)
class GraphRow:
    """One graph file. `weights_in` names the file whose weights it shares; it is written after that one."""

    role: str
    target: str
    file: str
    build: Callable[[Forms, OneVisionConfig, Policy], GraphBuilder]
    opset: int = 21
    cache_form: str | None = None
    attention_form: str = "group_query"
    weights_in: str | None = None
    min_runtime: str | None = None  # oldest onnxruntime that loads it, where not all of them do


def _vision(forms: Forms, config: OneVisionConfig, policy: Policy) -> GraphBuilder:
    return build_vision(forms, config.vision, policy.vision)


def _projector(forms: Forms, config: OneVisionConfig, policy: Policy) -> GraphBuilder:
    return build_projector(forms, config, policy.projector)


def _decoder(forms: Forms, config: OneVisionConfig, policy: Policy) -> GraphBuilder:
    return build_decoder(forms, config.language, linear_form=policy.decoder, table_form=policy.table)


_ORT = (
    GraphRow(role="vision", target="ort", file="vision.onnx", build=_vision),
    GraphRow(role="projector", target="ort", file="projector.onnx", build=_projector),
    GraphRow(role="decoder", target="ort", file="decoder.onnx", build=_decoder, cache_form="shared_buffer"),
    # The same network and weights; faster where ONNX Runtime knows TensorScatter and Attention of opset 24.
    GraphRow(
        role="decoder_grouped",
        target="ort",
        file="decoder_grouped.onnx",
        build=_decoder,
        opset=24,
        cache_form="shared_buffer",
        attention_form="grouped_step",
        weights_in="decoder.onnx",
        min_runtime="1.25",
    ),
)


# Their own files, weights included: types differ (norms are float32), and so does the packing of 4 bits.
_TRT = (
    GraphRow(role="vision", target="trt", file="vision.trt.onnx", build=_vision, opset=20),
    GraphRow(role="projector", target="trt", file="projector.trt.onnx", build=_projector, opset=20),
    GraphRow(role="decoder", target="trt", file="decoder.trt.onnx", build=_decoder, opset=20, cache_form="delta"),
)
GRAPHS = {"ort": _ORT, "trt": _TRT}
# Only a GPU multiplies bfloat16, so there is no decoder for CPUs. Before 1.27 the kernel that adds and norms summed
# squares in bfloat16 (microsoft/onnxruntime#28682).
_ORT_BFLOAT16 = tuple(replace(row, min_runtime="1.27") for row in _ORT if row.role != "decoder_grouped")
INT4_OPSET = 21  # the first with 4-bit integers


def rows_for(target: str, policy: Policy) -> tuple[GraphRow, ...]:
    """The graphs of a target at a precision."""
    return _ORT_BFLOAT16 if (target, policy.activations) == ("ort", "bfloat16") else GRAPHS[target]


def build_graph(row: GraphRow, config: OneVisionConfig, policy: Policy, source: TensorSource) -> GraphBuilder:
    """The graph of one row, its weights still promises of `source`."""
    return _BUILD[row.target](row, config, policy, source)


def _build_ort(row: GraphRow, config: OneVisionConfig, policy: Policy, source: TensorSource) -> GraphBuilder:
    builder = GraphBuilder(row.role, opset=row.opset)
    forms = OrtForms(builder=builder, source=source, dtype=policy.activations, attention_form=row.attention_form)
    return row.build(forms, config, policy)


def _build_trt(row: GraphRow, config: OneVisionConfig, policy: Policy, source: TensorSource) -> GraphBuilder:
    builder = GraphBuilder(row.role, opset=row.opset)
    row.build(TrtForms(builder=builder, source=source, policy=policy), config, policy)
    if any(weight.dtype == "int4" for weight in builder.weights.values()):  # blocks may fit no matrix of a small model
        builder.opsets[""] = INT4_OPSET
    return builder


_BUILD = {"ort": _build_ort, "trt": _build_trt}


def graph_spec(row: GraphRow, graph: GraphBuilder) -> GraphSpec:
    """The manifest's description of a graph."""
    return GraphSpec(
        role=row.role,
        target=row.target,
        file=row.file,
        data_files=(data_file_name(row.weights_in or row.file),),
        inputs=tuple(graph.inputs),
        outputs=tuple(graph.outputs),
        cache_form=row.cache_form,
        min_runtime=row.min_runtime,
    )
