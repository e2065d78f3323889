"""The three graphs of a target: which builder makes each, in the order in which data flows through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.decoder import build_decoder
from ovexport.graphs.ort import OrtForms
from ovexport.graphs.projector import build_projector
from ovexport.graphs.vision import build_vision
from ovexport.model.config import OneVisionConfig
from ovexport.precision.policy import Policy
from ovexport.precision.weights import TensorSource

ORT_OPSET = 21


@dataclass(frozen=True, kw_only=True)
class GraphRow:
    """`part` is the module of `ovexport.model.OneVision` that the graph stands for."""

    role: str
    part: str
    file: str
    cache_form: str | None
    build: Callable[[OrtForms, OneVisionConfig, Policy], GraphBuilder]


ORT_GRAPHS = (
    GraphRow(
        role="vision",
        part="vision_tower",
        file="vision.onnx",
        cache_form=None,
        build=lambda forms, config, policy: build_vision(forms, config.vision, policy.vision),
    ),
    GraphRow(
        role="projector",
        part="projector",
        file="projector.onnx",
        cache_form=None,
        build=lambda forms, config, policy: build_projector(forms, config, policy.projector),
    ),
    GraphRow(
        role="decoder",
        part="language_model",
        file="decoder.onnx",
        cache_form="shared_buffer",
        build=lambda forms, config, policy: build_decoder(
            forms, config.language, linear_form=policy.decoder, table_form=policy.table
        ),
    ),
)


def build_graph(row: GraphRow, config: OneVisionConfig, policy: Policy, source: TensorSource) -> GraphBuilder:
    """The graph of one row, its weights still promises of `source`."""
    builder = GraphBuilder(row.role, opset=ORT_OPSET)
    return row.build(OrtForms(builder=builder, source=source, dtype=policy.activations), config, policy)
