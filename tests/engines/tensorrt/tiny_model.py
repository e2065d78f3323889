"""A model of the engines' contract that is small enough to compute twice: as ONNX graphs, and whole in NumPy.

The decoder is a transformer with grouped heads and learned positions; the reference sees all tokens at once.

Axes: N tiles, C channels, H W pixels, P patches of a tile, D width, T visual tokens, S tokens, L total, G groups
(key/value heads), J query heads per group, E head width, K rows of logits, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ovengines.bundle.manifest import (
    LAYOUT_VERSION,
    SEMANTICS_VERSION,
    Geometry,
    GraphSpec,
    Manifest,
    ModelSpec,
    TensorSpec,
)
from ovengines.bundle.writer import BundleWriter

SIDE_PX, PATCH_PX, PATCHES = 28, 14, 4
LAYERS, GROUPS, HEADS, VOCAB, HIDDEN, VISION = 2, 2, 6, 37, 12, 6
POSITIONS = 1500
ONNX_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}


class TinyModel:
    """`head_dim` decides whether a row of the cache (`2 * head_dim * 4` bytes) is a multiple of 256."""

    def __init__(self, head_dim: int = 32, seed: int = 0) -> None:
        self.head_dim = head_dim
        random = np.random.default_rng(seed)

        def weight(*shape: int) -> np.ndarray:
            return (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

        queries, keys = HEADS * head_dim, GROUPS * head_dim
        self.weights = {
            "conv": weight(VISION, 3, PATCH_PX, PATCH_PX),
            "project": weight(VISION, HIDDEN),
            "newline": weight(1, HIDDEN),
            "embed": 3 * weight(VOCAB, HIDDEN),
            "position": 3 * weight(POSITIONS, HIDDEN) * np.sqrt(POSITIONS / HIDDEN).astype(np.float32),
            "head": weight(HIDDEN, VOCAB),
        }
        for i in range(LAYERS):
            self.weights |= {f"q{i}": weight(HIDDEN, queries), f"k{i}": weight(HIDDEN, keys)}
            self.weights |= {f"v{i}": weight(HIDDEN, keys), f"o{i}": weight(queries, HIDDEN)}

    def encode(self, pixels_NCHW: np.ndarray) -> np.ndarray:
        count, side = len(pixels_NCHW), SIDE_PX // PATCH_PX
        tiles = pixels_NCHW.reshape(count, 3, side, PATCH_PX, side, PATCH_PX).transpose(0, 2, 4, 1, 3, 5)
        return tiles.reshape(count, PATCHES, 3 * PATCH_PX**2) @ self.weights["conv"].reshape(VISION, -1).T

    def project(self, features_NPD: np.ndarray, indices_T4: np.ndarray, weights_T4: np.ndarray) -> np.ndarray:
        rows_RD = np.concatenate([features_NPD.reshape(-1, VISION) @ self.weights["project"], self.weights["newline"]])
        return (rows_RD[indices_T4] * weights_T4[..., None]).sum(1).astype(np.float32)

    def embed(self, ids: Sequence[int]) -> np.ndarray:
        return self.weights["embed"][np.asarray(ids, np.int64)]

    def logits(self, embeds_SD: np.ndarray) -> np.ndarray:
        """Of all positions, from embeddings alone."""
        w, tokens, dim = self.weights, len(embeds_SD), self.head_dim
        x_SD = embeds_SD.astype(np.float64) + w["position"][:tokens]
        hidden_SS = np.where(np.tri(tokens, dtype=bool), 0, -np.inf)
        for i in range(LAYERS):
            n_SD = np.tanh(x_SD)
            q_SGJE = (n_SD @ w[f"q{i}"]).reshape(tokens, GROUPS, HEADS // GROUPS, dim)
            k_SGE, v_SGE = ((n_SD @ w[f"{kind}{i}"]).reshape(tokens, GROUPS, dim) for kind in "kv")
            scores = np.einsum("sgje,lge->gjsl", q_SGJE, k_SGE) / np.sqrt(dim) + hidden_SS
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            y_SGJE = np.einsum("gjsl,lge->sgje", scores / scores.sum(-1, keepdims=True), v_SGE)
            x_SD = x_SD + y_SGJE.reshape(tokens, -1) @ w[f"o{i}"]
        return (np.tanh(x_SD) @ w["head"]).astype(np.float32)

    def vision_graph(self) -> onnx.ModelProto:
        graph = _Graph(self.weights)
        graph.input("pixel_values", "float32", ["tiles", 3, SIDE_PX, SIDE_PX])
        maps = graph.op("Conv", ["pixel_values", "conv"], strides=[PATCH_PX, PATCH_PX])
        flat = graph.op("Reshape", [maps, graph.ints(0, VISION, PATCHES)])
        graph.op("Transpose", [flat], outputs=["features"], perm=[0, 2, 1])
        graph.output("features", "float32", ["tiles", PATCHES, VISION])
        return graph.model()

    def projector_graph(self) -> onnx.ModelProto:
        graph = _Graph(self.weights)
        graph.input("features", "float32", ["tiles", PATCHES, VISION])
        graph.input("indices", "int32", ["tokens", 4])
        graph.input("weights", "float32", ["tokens", 4])
        flat = graph.op("Reshape", [graph.op("MatMul", ["features", "project"]), graph.ints(-1, HIDDEN)])
        rows = graph.op("Concat", [flat, "newline"], axis=0)
        weighted = graph.op(
            "Mul", [graph.op("Gather", [rows, "indices"]), graph.op("Unsqueeze", ["weights", graph.ints(2)])]
        )
        graph.op("ReduceSum", [weighted, graph.ints(1)], outputs=["image_embeds"], keepdims=0)
        graph.output("image_embeds", "float32", ["tokens", HIDDEN])
        return graph.model()

    def decoder_graph(self) -> onnx.ModelProto:
        graph = _Graph(self.weights)
        for name in ("input_ids", "embed_index", "position_ids"):
            graph.input(name, "int64", ["batch", "sequence"])
        graph.input("image_embeds", "float32", ["image_tokens", HIDDEN])
        graph.input("logits_index", "int64", ["batch", "rows"])
        graph.input("attention_mask", "float32", ["batch", 1, 1, "sequence", "total"])
        row = graph.op("Max", ["embed_index", graph.const(np.array(0))])
        is_text = graph.op("Unsqueeze", [graph.op("Less", ["embed_index", graph.const(np.array(0))]), graph.ints(2)])
        words, pictures = graph.op("Gather", ["embed", "input_ids"]), graph.op("Gather", ["image_embeds", row])
        x = graph.op(
            "Add", [graph.op("Where", [is_text, words, pictures]), graph.op("Gather", ["position", "position_ids"])]
        )
        for layer in range(LAYERS):
            x = graph.op("Add", [x, self._attention(graph, graph.op("Tanh", [x]), layer)])
        shape = graph.op("Concat", [graph.op("Shape", ["logits_index"]), graph.ints(HIDDEN)], axis=0)
        rows = graph.op("Expand", [graph.op("Unsqueeze", ["logits_index", graph.ints(2)]), shape])
        last = graph.op("Tanh", [graph.op("GatherElements", [x, rows], axis=1)])
        graph.op("MatMul", [last, "head"], outputs=["logits"])
        graph.output("logits", "float32", ["batch", "rows", VOCAB])
        best = graph.op("ArgMax", ["logits"], axis=-1, keepdims=0)
        graph.op("Cast", [best], outputs=["greedy_ids"], to=TensorProto.INT32)
        graph.output("greedy_ids", "int32", ["batch", "rows"])
        graph.op("ReduceSum", ["logits", graph.ints(-1)], outputs=["logits_sum"], keepdims=0)
        graph.output("logits_sum", "float32", ["batch", "rows"])
        return graph.model()

    def _attention(self, graph: _Graph, n_BSD: str, layer: int) -> str:
        dim = self.head_dim
        q = graph.op(
            "Reshape", [graph.op("MatMul", [n_BSD, f"q{layer}"]), graph.ints(0, 0, GROUPS, HEADS // GROUPS, dim)]
        )
        q_BGJSE = graph.op(
            "Transpose", [graph.op("Mul", [q, graph.const(np.float32(dim**-0.5))])], perm=[0, 2, 3, 1, 4]
        )
        totals = {}
        for kind, letter in (("key", "k"), ("value", "v")):
            past, new = (f"{which}_key_values.{layer}.{kind}" for which in ("past", "new"))
            graph.input(past, "float32", ["past", "batch", GROUPS, dim])
            rows = graph.op("Reshape", [graph.op("MatMul", [n_BSD, f"{letter}{layer}"]), graph.ints(0, 0, GROUPS, dim)])
            graph.op("Transpose", [rows], outputs=[new], perm=[1, 0, 2, 3])
            graph.output(new, "float32", ["sequence", "batch", GROUPS, dim])
            totals[kind] = graph.op("Concat", [past, new], axis=0)
        k = graph.op("Unsqueeze", [graph.op("Transpose", [totals["key"]], perm=[1, 2, 3, 0]), graph.ints(2)])
        v = graph.op("Unsqueeze", [graph.op("Transpose", [totals["value"]], perm=[1, 2, 0, 3]), graph.ints(2)])
        scores = graph.op("Softmax", [graph.op("Add", [graph.op("MatMul", [q_BGJSE, k]), "attention_mask"])], axis=-1)
        y = graph.op("Transpose", [graph.op("MatMul", [scores, v])], perm=[0, 3, 1, 2, 4])
        return graph.op("MatMul", [graph.op("Reshape", [y, graph.ints(0, 0, HEADS * dim)]), f"o{layer}"])


class _Graph:
    """Collects nodes, and of the weights those that they use."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: str, shape: list[int | str]) -> None:
        self.inputs.append(helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape))

    def output(self, name: str, dtype: str, shape: list[int | str]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape))

    def const(self, value: np.ndarray) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def op(self, kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        outputs = outputs or [f"{kind}{len(self._nodes)}"]
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def model(self) -> onnx.ModelProto:
        used = {name for node in self._nodes for name in node.input}
        weights = [numpy_helper.from_array(self._weights[name], name) for name in self._weights if name in used]
        graph = helper.make_graph(self._nodes, "tiny", self.inputs, self.outputs, [*weights, *self._constants])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model)
        return model


def write_bundle(
    folder: Path, model: TinyModel, *, weights_of: TinyModel | None = None, precision: str = "fp32", seed: int = 0
) -> Path:
    """A bundle of `model`'s reference; its graphs have the weights of another model, if that is to be noticed."""
    weights_of = weights_of or model
    graphs = {
        "vision": weights_of.vision_graph(),
        "projector": weights_of.projector_graph(),
        "decoder": weights_of.decoder_graph(),
    }
    with BundleWriter(folder, force=True) as writer:
        for role, graph in graphs.items():
            writer.add_bytes(f"{role}.trt.onnx", graph.SerializeToString())
        np.savez_compressed(writer.folder / "reference.npz", **make_reference(model, seed, rounded=precision == "int4"))
        writer.seal(
            Manifest(
                layout_version=LAYOUT_VERSION,
                semantics_version=SEMANTICS_VERSION,
                created_by="tests",
                source="tests/tiny",
                source_revision=None,
                source_sha256="0" * 64,
                precision=precision,
                model=model_spec(model),
                graphs=tuple(_graph_spec(role, graph) for role, graph in graphs.items()),
                files=writer.file_specs(),
            )
        )
        return writer.publish()


def model_spec(model: TinyModel) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        vision_hidden=VISION,
        hidden=HIDDEN,
        vocab_size=VOCAB,
        num_layers=LAYERS,
        num_heads=HEADS,
        num_kv_heads=GROUPS,
        head_dim=model.head_dim,
        max_positions=POSITIONS,
        image_token_id=1,
        video_token_id=None,
        pad_token_id=0,
        eos_token_ids=(2,),
        geometry=Geometry(
            image_size_px=SIDE_PX,
            patch_size_px=PATCH_PX,
            grid_pinpoints=tuple((SIDE_PX * rows, SIDE_PX * columns) for rows in (1, 2, 3) for columns in (1, 2, 3)),
            max_tiles=9,
            unpad_rounding="hf",
        ),
    )


def make_reference(model: TinyModel, seed: int = 0, *, rounded: bool = False) -> dict[str, np.ndarray]:
    """What ovexport/verify/reference.py writes, of the tiny model."""
    random = np.random.default_rng(seed)
    pixels = random.standard_normal((3, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
    indices_T4, weights_T4 = random_plan(random, 3, 40)
    features = model.encode(pixels)
    embeds_TD = model.project(features, indices_T4, weights_T4)
    ids_S, index_S = random.integers(3, VOCAB, 90), np.full(90, -1)
    index_S[13:53] = np.arange(40)
    sequence_SD = model.embed(ids_S)
    sequence_SD[13:53] = embeds_TD
    positions_K = np.array([0, 20, 33, 34, 60, 81, *range(82, 90)])
    rows_F = np.unique(indices_T4[(weights_T4 != 0) & (indices_T4 < 3 * PATCHES)])
    logits_KV = model.logits(sequence_SD)[positions_K]
    return {
        "pixels_NCHW": pixels,
        "indices_T4": indices_T4,
        "weights_T4": weights_T4,
        "input_ids_S": ids_S,
        "embed_index_S": index_S,
        "prompt_tokens": np.array(82),
        "logits_positions_K": positions_K,
        "features_rows_F": rows_F.astype(np.int64),
        "features_FD": features.reshape(-1, VISION)[rows_F],
        "patches": np.array(PATCHES),
        "image_embeds_TD": embeds_TD,
        "logits_KV": logits_KV * 1.5 if rounded else logits_KV,
        "rounded_logits_KV": logits_KV[:0] + 1,  # of the other target
        "rounded_logits_trt_KV": logits_KV if rounded else logits_KV[:0],
        "greedy_ids_G": np.zeros(4, np.int64),
    }


def random_plan(random: np.random.Generator, tiles: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of neighbouring rows, of weights that are partly zero, and a newline now and then."""
    firsts_T = np.sort(random.integers(0, tiles * PATCHES, tokens))
    indices_T4 = np.minimum(firsts_T[:, None] + random.integers(0, 4, (tokens, 4)), tiles * PATCHES - 1)
    weights_T4 = random.random((tokens, 4)) * (random.random((tokens, 4)) < 0.7)
    newline_T = random.random(tokens) < 0.1
    indices_T4[newline_T] = tiles * PATCHES
    weights_T4[newline_T] = [1, 0, 0, 0]
    return indices_T4.astype(np.int32), weights_T4.astype(np.float32)


def _graph_spec(role: str, model: onnx.ModelProto) -> GraphSpec:
    return GraphSpec(
        role=role,
        target="trt",
        file=f"{role}.trt.onnx",
        data_files=(),
        inputs=tuple(_tensor_spec(value) for value in model.graph.input),
        outputs=tuple(_tensor_spec(value) for value in model.graph.output),
        cache_form="delta" if role == "decoder" else None,
    )


def _tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = next(name for name, number in ONNX_TYPES.items() if number == kind.elem_type)
    return TensorSpec(name=value.name, dtype=dtype, shape=tuple(d.dim_param or d.dim_value for d in kind.shape.dim))
