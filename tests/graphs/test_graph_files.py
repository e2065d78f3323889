"""Graph files as such: valid ONNX, weights where the file says, names that a person can follow, honest plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import Checkpoint, open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.graphs.builder import GraphBuilder, Weight
from ovexport.graphs.table import GRAPHS
from ovexport.graphs.write import ALIGN_BYTES, write_graph
from ovexport.plan import plan_build

PRECISIONS = ("fp32", "fp16", "int8", "int4")


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Checkpoint]:
    with open_checkpoint(EMBEDDED_MODEL) as opened:
        yield opened


def weight_of(array: np.ndarray, rows_per_piece: int) -> Weight:
    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, len(array), rows_per_piece):
            yield array[start : start + rows_per_piece]

    return Weight(dtype=str(array.dtype), shape=array.shape, pieces=pieces)


def load_weight(model: onnx.ModelProto, folder: Path, name: str) -> np.ndarray:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    entry = {e.key: e.value for e in tensor.external_data}
    raw = (folder / entry["location"]).read_bytes()[int(entry["offset"]) :][: int(entry["length"])]
    return np.frombuffer(raw, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).reshape(tuple(tensor.dims))


@pytest.mark.parametrize("rows_per_piece", [1, 3, 100])
def test_weights_are_where_the_file_says(tmp_path: Path, rows_per_piece: int) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "a": random.standard_normal((7, 5)).astype(np.float32),
        "b": random.integers(0, 255, (9, 4, 3)).astype(np.uint8),
        "c": random.standard_normal((2000,)).astype(np.float16),
    }
    graph = GraphBuilder("test", opset=21)
    for name, array in arrays.items():
        graph.weight(name, weight_of(array, rows_per_piece))
    write_graph(graph, tmp_path, "one.onnx")
    write_graph(graph, tmp_path, "two.onnx", weights_in="one.onnx")
    assert not (tmp_path / "two.onnx.data").exists()
    for file in ("one.onnx", "two.onnx"):
        model = onnx.load(str(tmp_path / file), load_external_data=False)
        for name, array in arrays.items():
            assert np.array_equal(load_weight(model, tmp_path, name), array)
        offsets = [int(e.value) for t in model.graph.initializer for e in t.external_data if e.key == "offset"]
        assert all(offset % ALIGN_BYTES == 0 for offset in offsets)


def test_a_weight_of_the_wrong_size_is_never_written_quietly(tmp_path: Path) -> None:
    graph = GraphBuilder("test", opset=21)
    graph.weight("a", dataclasses.replace(weight_of(np.zeros((4, 4), np.float32), 4), shape=(5, 4)))
    with pytest.raises(AssertionError, match="a: 64 bytes for 80"):
        write_graph(graph, tmp_path, "one.onnx")


def test_equal_constants_are_shared_and_names_are_unique() -> None:
    graph = GraphBuilder("test", opset=21)
    assert graph.const([1, 2]) == graph.const([1, 2]) != graph.const([1, 2], "float32")
    assert graph.const(1) != graph.const([1])
    x = graph.input("x", "float32", ["n"])
    names = [graph.op("Neg", [x]) for _ in range(3)]
    with graph.scope("layer"):
        names.append(graph.op("Neg", [x]))
    assert len(set(names)) == 4 and names[-1].startswith("layer/")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_are_valid_onnx_and_plans_are_exact(
    build_tiny: Callable[[str], Path], checkpoint: Checkpoint, precision: str
) -> None:
    bundle = build_tiny(precision)
    planned = dict(plan_build(checkpoint, precision, "ort").file_sizes())
    for row in GRAPHS["ort"]:
        file = bundle / row.file
        model = onnx.load(str(file), load_external_data=False)
        declared = {(o.domain, o.version) for o in model.opset_import}
        assert ("", row.opset) in declared
        if not any(domain for domain, _ in declared):
            onnx.checker.check_model(str(file), full_check=True)
        weights_bytes = sum(int(e.value) for t in model.graph.initializer for e in t.external_data if e.key == "length")
        assert planned[row.file] == (0 if row.weights_in else weights_bytes)
        assert not any(d.dim_value for v in model.graph.input for d in v.type.tensor_type.shape.dim[:1])


def test_quantised_bundles_are_as_small_as_promised(build_tiny: Callable[[str], Path]) -> None:
    sizes = {p: (build_tiny(p) / "decoder.onnx.data").stat().st_size for p in PRECISIONS}
    rotary_bytes = 2 * 4096 * 16 * 4
    assert sizes["fp16"] < 0.55 * sizes["fp32"]
    assert sizes["int8"] - rotary_bytes < 0.35 * (sizes["fp32"] - rotary_bytes)
    assert sizes["int4"] < sizes["int8"]


def test_heads_that_no_attention_takes_are_refused_before_anything_is_written(checkpoint: Checkpoint) -> None:
    language = dataclasses.replace(checkpoint.config.language, head_dim=24)
    other = SimpleNamespace(config=dataclasses.replace(checkpoint.config, language=language))
    with pytest.raises(OVError, match="24 wide") as caught:
        plan_build(other, "fp32", "ort")  # type: ignore[arg-type]
    assert caught.value.code == ExitCode.BAD_INPUT
