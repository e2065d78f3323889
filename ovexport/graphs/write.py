"""Writes a built graph: the ONNX file, and a data file that its weights are streamed into, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto

from ovexport.graphs.builder import ONNX_TYPES, GraphBuilder, Weight

ALIGN_BYTES = 4096  # so that an engine can map each weight from the file
Progress = Callable[[int], None]  # bytes written since the last call


def data_file_name(file: str) -> str:
    """Where the weights of a graph file are."""
    return f"{file}.data"


def write_graph(
    graph: GraphBuilder, folder: Path, file: str, *, weights_in: str | None = None, progress: Progress | None = None
) -> None:
    """Write `folder/file` and its data file, or refer to the data file of `weights_in`, written before.

    Peak memory is one piece of one weight. Raises OSError as the disk does.
    """
    offsets = _offsets(graph)
    if weights_in is None:
        _write_weights(graph, offsets, folder / data_file_name(file), progress)
    model = graph.model()
    for name, offset in offsets.items():
        model.graph.initializer.append(_external(name, graph.weights[name], data_file_name(weights_in or file), offset))
    (folder / file).write_bytes(model.SerializeToString())


def _write_weights(graph: GraphBuilder, offsets: dict[str, int], path: Path, progress: Progress | None) -> None:
    with open(path, "wb") as stream:
        for name, offset in offsets.items():
            stream.seek(offset)
            for piece in graph.weights[name].pieces():
                stream.write(np.ascontiguousarray(piece).data)
                if progress:
                    progress(piece.nbytes)
            written, size = stream.tell() - offset, graph.weights[name].size_bytes
            assert written == size, f"{name}: {written} bytes for {size}"


def _offsets(graph: GraphBuilder) -> dict[str, int]:
    """Where each weight begins in the data file; the same for all graphs that ask for the same weights."""
    offsets, end = {}, 0
    for name, weight in graph.weights.items():
        offsets[name] = -(-end // ALIGN_BYTES) * ALIGN_BYTES
        end = offsets[name] + weight.size_bytes
    return offsets


def _external(name: str, weight: Weight, data_file: str, offset: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=ONNX_TYPES[weight.dtype], dims=weight.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data_file), ("offset", offset), ("length", weight.size_bytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
