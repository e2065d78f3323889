"""The graphs of a target: which builder makes each, in the order in which data flows through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ovengines.bundle.manifest import GraphSpec
from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.decoder import build_decoder
from ovexport.graphs.ort import OrtForms
from ovexport.graphs.projector import build_projector
from ovexport.graphs.vision import build_vision
from ovexport.graphs.write import data_file_name
from ovexport.model.config import OneVisionConfig
from ovexport.precision.policy import Policy
from ovexport.precision.weights import TensorSource


@dataclass(frozen=True, kw_only=True)
class GraphRow:
    """One graph file. `weights_in` names the file whose weights it shares; it is written after that one."""

    role: str
    file: str
    build: Callable[[OrtForms, OneVisionConfig, Policy], GraphBuilder]
    opset: int = 21
    cache_form: str | None = None
    attention_form: str = "group_query"
    weights_in: str | None = None
    min_runtime: str | None = None  # oldest onnxruntime that loads it, where not all of them do


def _vision(forms: OrtForms, config: OneVisionConfig, policy: Policy) -> GraphBuilder:
    return build_vision(forms, config.vision, policy.vision)


def _projector(forms: OrtForms, config: OneVisionConfig, policy: Policy) -> GraphBuilder:
    return build_projector(forms, config, policy.projector)


def _decoder(forms: OrtForms, config: OneVisionConfig, policy: Policy) -> GraphBuilder:
    return build_decoder(forms, config.language, linear_form=policy.decoder, table_form=policy.table)


ORT_GRAPHS = (
    GraphRow(role="vision", file="vision.onnx", build=_vision),
    GraphRow(role="projector", file="projector.onnx", build=_projector),
    GraphRow(role="decoder", file="decoder.onnx", build=_decoder, cache_form="shared_buffer"),
    # The same network and weights; faster where ONNX Runtime knows TensorScatter and Attention of opset 24.
    GraphRow(
        role="decoder_grouped",
        file="decoder_grouped.onnx",
        build=_decoder,
        opset=24,
        cache_form="shared_buffer",
        attention_form="grouped_step",
        weights_in="decoder.onnx",
        min_runtime="1.25",
    ),
)


def build_graph(row: GraphRow, config: OneVisionConfig, policy: Policy, source: TensorSource) -> GraphBuilder:
    """The graph of one row, its weights still promises of `source`."""
    builder = GraphBuilder(row.role, opset=row.opset)
    forms = OrtForms(builder=builder, source=source, dtype=policy.activations, attention_form=row.attention_form)
    return row.build(forms, config, policy)


def graph_spec(row: GraphRow, graph: GraphBuilder) -> GraphSpec:
    """The manifest's description of a graph."""
    return GraphSpec(
        role=row.role,
        target="ort",
        file=row.file,
        data_files=(data_file_name(row.weights_in or row.file),),
        inputs=tuple(graph.inputs),
        outputs=tuple(graph.outputs),
        cache_form=row.cache_form,
        min_runtime=row.min_runtime,
    )
