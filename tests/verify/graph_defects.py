"""Ways in which an export can be wrong: each turns a sound bundle, or its weights, into one that must not pass.

A defect of weights edits a copy of the checkpoint that the bundle is then built from; a defect of a graph edits the
ONNX file in place (the Bundle object in hand does not hash again).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from verify_bundles import RandomCheckpoint

from ovengines import Bundle
from ovexport.model.attention import rotary_angles

Edit = Callable[[onnx.GraphProto, RandomCheckpoint], None]


def edit_graph(bundle: Bundle, role: str, checkpoint: RandomCheckpoint, edit: Edit) -> None:
    """Edit every file that plays the role: the decoder has two."""
    for spec in bundle.manifest.graphs:
        if spec.role.startswith(role):
            file = bundle.graph_file(spec)
            model = onnx.load(str(file), load_external_data=False)
            edit(model.graph, checkpoint)
            file.write_bytes(model.SerializeToString())


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph and of the branches in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)


# Weights


def double_one_matrix(checkpoint: RandomCheckpoint) -> None:
    name = "language_model.layers.0.mlp.down_proj.weight"
    checkpoint.set(name, checkpoint.tensor(name) * 2)


def swap_decoder_layers(checkpoint: RandomCheckpoint) -> None:
    _swap(checkpoint, "language_model.layers.0.", "language_model.layers.1.")


def swap_tower_layers(checkpoint: RandomCheckpoint) -> None:
    _swap(checkpoint, "vision_tower.layers.0.", "vision_tower.layers.1.")


def shift_embedding_rows(checkpoint: RandomCheckpoint) -> None:
    name = "language_model.embed_tokens.weight"
    checkpoint.set(name, checkpoint.tensor(name).roll(1, 0))


def forget_newline(checkpoint: RandomCheckpoint) -> None:
    checkpoint.set("image_newline", torch.zeros_like(checkpoint.tensor("image_newline")))


def poison_with_nan(checkpoint: RandomCheckpoint) -> None:
    poisoned = checkpoint.tensor("projector.linear_2.bias").clone()
    poisoned[3] = torch.nan
    checkpoint.set("projector.linear_2.bias", poisoned)


def _swap(checkpoint: RandomCheckpoint, one: str, other: str) -> None:
    for name in [n for n in checkpoint.names() if n.startswith(one)]:
        twin = other + name.removeprefix(one)
        first, second = checkpoint.tensor(name), checkpoint.tensor(twin)
        checkpoint.set(name, second)
        checkpoint.set(twin, first)


# Graphs


def apply_post_layernorm(graph: onnx.GraphProto, checkpoint: RandomCheckpoint) -> None:
    """The usual slip: transformers' last_hidden_state in place of hidden_states[-1]."""
    _rename_output(graph, "features", "raw")
    for kind in ("weight", "bias"):
        value = checkpoint.tensor(f"vision_tower.post_layernorm.{kind}").float().numpy()
        graph.initializer.append(numpy_helper.from_array(value, f"post.{kind}"))
    inputs = ["raw", "post.weight", "post.bias"]
    graph.node.append(helper.make_node("LayerNormalization", inputs, ["features"], axis=-1, epsilon=1e-6))


def shift_late_positions(graph: onnx.GraphProto, checkpoint: RandomCheckpoint) -> None:
    """Positions past 100 count one too many, as when a decode loop adds the token before it asks for its position."""
    language = checkpoint.config.language
    positions = torch.arange(language.max_positions)[None]
    positions = (positions + (positions >= 100)).clamp(max=language.max_positions - 1)
    tables = rotary_angles(positions, language.head_dim, language.rope_theta, torch.float32)
    for name, table in zip(("rotary.cos", "rotary.sin"), tables, strict=True):
        old = next(i for i in graph.initializer if i.name == name)
        value = table[0, 0, :, : language.head_dim // 2].numpy().astype(helper.tensor_dtype_to_np_dtype(old.data_type))
        old.CopyFrom(numpy_helper.from_array(value, name))


def forget_rotation(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    for node in all_nodes(graph):
        if node.op_type == "GroupQueryAttention":
            next(a for a in node.attribute if a.name == "do_rotary").i = 0


def shift_visual_rows(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """Each visual position takes the row after its own."""
    graph.initializer.append(numpy_helper.from_array(np.array(1), "one"))
    gather = next(n for n in graph.node if n.op_type == "Gather" and n.input[1] == "embed_index")
    gather.input[1] = "next_row"
    graph.node.insert(0, helper.make_node("Add", ["embed_index", "one"], ["next_row"]))


def forget_mask(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """TensorRT's form: every position sees what comes after it, and the row that is no token."""
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "seen"))
    for node in list(graph.node):
        node.input[:] = ["no_mask" if name == "attention_mask" else name for name in node.input]
    graph.node.insert(0, helper.make_node("Mul", ["attention_mask", "seen"], ["no_mask"]))


def wrong_visual_rows(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """TensorRT's form: each visual position takes the first row."""
    maximum = next(n for n in graph.node if n.op_type == "Max")
    maximum.op_type = "Min"


def swap_new_keys_and_values(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """Right within a call, wrong in the next one."""
    names = [value.name for value in graph.output if value.name.startswith("new_key_values.0.")]
    twin = dict(zip(names, reversed(names), strict=True))
    for node in graph.node:
        node.output[:] = [twin.get(name, name) for name in node.output]
        node.input[:] = [twin.get(name, name) for name in node.input]


def swap_pooling_weights(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """Only tokens of several sources notice: those of the video's pooling."""
    graph.initializer.append(numpy_helper.from_array(np.array([1, 0, 2, 3]), "order"))
    pool = next(n for n in graph.node if n.op_type == "BilinearTokenPool")
    pool.input[2] = "swapped"
    graph.node.insert(0, helper.make_node("Gather", ["weights", "order"], ["swapped"], axis=1))


def shift_logits_rows(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """Logits of the first row asked for, whatever row that is."""
    take = next(n for n in graph.node if n.op_type == "GatherND")
    graph.initializer.append(numpy_helper.from_array(np.array(0), "nothing"))
    graph.node.insert(list(graph.node).index(take), helper.make_node("Mul", [take.input[1], "nothing"], ["first_row"]))
    take.input[1] = "first_row"


def swap_colours(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """BGR for RGB."""
    graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    for node in graph.node:
        node.input[:] = ["swapped_pixels" if name == "pixel_values" else name for name in node.input]
    graph.node.insert(0, helper.make_node("Gather", ["pixel_values", "bgr"], ["swapped_pixels"], axis=1))


def wrong_gelu(graph: onnx.GraphProto, _: RandomCheckpoint) -> None:
    """The exact form in the tower, where SigLIP has the tanh form: about 1e-4 of the output."""
    for node in graph.node:
        if node.op_type == "FastGelu":
            node.op_type = "Gelu"


def _rename_output(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
