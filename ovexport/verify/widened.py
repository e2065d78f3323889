"""Graphs in bfloat16 on ONNX Runtime's CPU provider, which has no such matrix product: widened to float32 in memory.

Weights keep their rounding; activations are not rounded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ovengines.bundle.reader import Bundle
from ovengines.devices import open_engine
from ovengines.engine import Engine
from ovengines.onnxruntime.engine import OnnxRuntimeEngine
from ovengines.onnxruntime.places import CPU
from ovengines.onnxruntime.planes import HostPlanes


def open_to_compare(bundle: Bundle, threads: int | None, decoder: str | None = None) -> Engine:
    """The bundle's files for ONNX Runtime on this machine's CPU, as they are or widened."""
    if bundle.manifest.graph("decoder", "ort").cache_dtype == "bfloat16":
        return OnnxRuntimeEngine(bundle, place=WIDENED, threads=threads, decoder=decoder)
    return open_engine(bundle, "cpu", threads, decoder=decoder)


def widen_bfloat16(model: onnx.ModelProto) -> None:
    """bfloat16 inputs, outputs and casts become float32, and each bfloat16 weight is cast before it is used."""
    graph, narrow, wide = model.graph, TensorProto.BFLOAT16, TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == narrow:
            value.type.tensor_type.elem_type = wide
    weights = {tensor.name: f"{tensor.name}/float32" for tensor in graph.initializer if tensor.data_type == narrow}
    for node in graph.node:
        node.input[:] = [weights.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == narrow:
                attribute.i = wide
    casts = [helper.make_node("Cast", [name], [cast], to=wide) for name, cast in weights.items()]
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _read(path: Path) -> bytes:
    model = onnx.load(str(path), load_external_data=False)
    widen_bfloat16(model)
    return bytes(model.SerializeToString())


WIDENED = replace(
    CPU,
    name="onnxruntime-cpu, bfloat16 widened to float32",
    planes=lambda shape: HostPlanes(replace(shape, dtype="float32")),
    check=lambda graph: None,
    read=_read,
)
