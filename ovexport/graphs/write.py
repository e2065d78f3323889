"""Writes a built graph: the ONNX file, and one data file that its weights are streamed into, piece by piece."""

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


def write_graph(graph: GraphBuilder, folder: Path, file: str, *, progress: Progress | None = None) -> list[str]:
    """Write `folder/file` and, beside it, `file.data`; returns the names of the data files.

    Peak memory is one piece of one weight. Raises OSError as the disk does.
    """
    model = graph.model()
    data_file = data_file_name(file)
    if graph.weights:
        with open(folder / data_file, "wb") as stream:
            for name, weight in graph.weights.items():
                stream.seek(-(-stream.tell() // ALIGN_BYTES) * ALIGN_BYTES)
                offset = stream.tell()
                for piece in weight.pieces():
                    stream.write(np.ascontiguousarray(piece).data)
                    if progress:
                        progress(piece.nbytes)
                written = stream.tell() - offset
                assert written == weight.size_bytes, f"{name}: {written} bytes for {weight.size_bytes}"
                model.graph.initializer.append(_external(name, weight, data_file, offset))
    (folder / file).write_bytes(model.SerializeToString())
    return [data_file] if graph.weights else []


def _external(name: str, weight: Weight, data_file: str, offset: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=ONNX_TYPES[weight.dtype], dims=weight.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data_file), ("offset", offset), ("length", weight.size_bytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
