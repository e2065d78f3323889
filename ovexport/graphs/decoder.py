"""decoder.onnx: Qwen2 with its cache: ids and visual tokens -> logits of the rows asked for.

Axes: B batch, S new tokens, T visual tokens, K rows of logits, V vocabulary, D width, E head width. The lookup of
embeddings and their merge with visual tokens live inside, the head runs only on the rows asked for. Mirrors
ovexport/model/qwen2.py and OneVision.merge.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ovexport.graphs.builder import GraphBuilder, Weight
from ovexport.graphs.forms import Linear, Norm, Table
from ovexport.graphs.ort import OrtForms
from ovexport.graphs.ort_attention import CachedAttention
from ovexport.model.attention import rotary_angles
from ovexport.model.config import LanguageConfig

LM = "language_model"


def build_decoder(forms: OrtForms, config: LanguageConfig, *, linear_form: str, table_form: str) -> GraphBuilder:
    """Inputs and outputs are those of docs/bundle-format.md; the cache is past and present of one shared buffer."""
    b = forms.builder
    inputs = _declare_inputs(b, config)
    table = _table(config, f"{LM}.embed_tokens.weight", table_form)
    x = _merge(forms, inputs, forms.embed(inputs["input_ids"], table))
    rotary = _rotary_tables(forms, config)
    lengths = (inputs["seqlens_k"], inputs["total_sequence_length"])
    normed = forms.rms_norm(x, _norm(config, f"{LM}.layers.0.input_layernorm"))
    for layer in range(config.num_layers):
        with b.scope(f"{LM}.{layer}"):
            attended = _attention(forms, normed, config, layer, linear_form, lengths, rotary)
            post = _norm(config, f"{LM}.layers.{layer}.post_attention_layernorm")
            x, normed = forms.add_rms_norm(x, attended, post)
            mlp = _mlp(forms, normed, config, layer, linear_form)
            last = layer + 1 == config.num_layers
            following = f"{LM}.norm" if last else f"{LM}.layers.{layer + 1}.input_layernorm"
            x, normed = forms.add_rms_norm(x, mlp, _norm(config, following))
    rows_BKD = forms.take_rows(normed, inputs["logits_index"])
    tied = config.tie_word_embeddings
    head = table if tied else _table(config, f"{LM}.lm_head.weight", table_form)
    b.output(
        forms.to_float32(forms.head(rows_BKD, head)),
        "logits",
        "float32",
        ["batch", "rows", config.vocab_size],
    )
    return b


def _declare_inputs(b: GraphBuilder, config: LanguageConfig) -> dict[str, str]:
    return {
        "input_ids": b.input("input_ids", "int64", ["batch", "sequence"]),
        "embed_index": b.input("embed_index", "int64", ["batch", "sequence"]),
        "image_embeds": b.input("image_embeds", "float32", ["image_tokens", config.hidden]),
        "logits_index": b.input("logits_index", "int64", ["batch", "rows"]),
        "seqlens_k": b.input("seqlens_k", "int32", ["batch"]),
        "total_sequence_length": b.input("total_sequence_length", "int32", []),
    }


def _merge(forms: OrtForms, inputs: dict[str, str], text_BSD: str) -> str:
    """Rows of image_embeds where embed_index says so; index -1 takes a row of zeros and is then not looked at."""
    b = forms.builder
    padded = b.op("Pad", [inputs["image_embeds"], b.const([0, 0, 1, 0]), b.const(0.0, "float32")])
    visual_BSD = forms.from_float32(str(b.op("Gather", [padded, inputs["embed_index"]], axis=0)))
    is_text_BS = b.op("Less", [inputs["embed_index"], b.const(0)])
    is_text_BS1 = b.op("Unsqueeze", [is_text_BS, b.const([2])])
    return str(b.op("Where", [is_text_BS1, text_BSD, visual_BSD]))


def _attention(
    forms: OrtForms,
    x: str,
    config: LanguageConfig,
    layer: int,
    linear_form: str,
    lengths: tuple[str, str],
    rotary: tuple[str, str],
) -> str:
    b, path = forms.builder, f"{LM}.layers.{layer}.self_attn"
    heads, width = (config.num_heads, config.num_kv_heads), config.head_dim
    shape: list[int | str] = ["batch", config.num_kv_heads, "capacity", width]
    past = tuple(b.input(f"past_key_values.{layer}.{kind}", forms.dtype, shape) for kind in ("key", "value"))
    names = tuple(f"{path}.{kind}_proj" for kind in "qkv")
    rows = (heads[0] + 2 * heads[1]) * width
    qkv = forms.linear(x, Linear(names=names, rows=rows, columns=config.hidden, bias=True, form=linear_form))
    attended, keys, values = forms.cached_attention(
        CachedAttention(
            qkv=qkv,
            past=(past[0], past[1]),
            seqlens=lengths[0],
            total=lengths[1],
            rotary=rotary,
            num_heads=heads[0],
            num_kv_heads=heads[1],
            head_dim=width,
            dtype=forms.dtype,
        )
    )
    for value, kind in ((keys, "key"), (values, "value")):
        b.output(value, f"present.{layer}.{kind}", forms.dtype, shape)
    out = Linear(names=(f"{path}.o_proj",), rows=config.hidden, columns=heads[0] * width, bias=False, form=linear_form)
    return forms.linear(attended, out)


def _mlp(forms: OrtForms, x: str, config: LanguageConfig, layer: int, linear_form: str) -> str:
    b, path, wide = forms.builder, f"{LM}.layers.{layer}.mlp", config.intermediate
    names = (f"{path}.gate_proj", f"{path}.up_proj")
    both = forms.linear(x, Linear(names=names, rows=2 * wide, columns=config.hidden, bias=False, form=linear_form))
    gate, up = b.op("Split", [both, b.const([wide, wide])], outputs=2, axis=-1)
    gated = b.op("Mul", [forms.silu(gate), up])
    down = Linear(names=(f"{path}.down_proj",), rows=config.hidden, columns=wide, bias=False, form=linear_form)
    return forms.linear(gated, down)


def _rotary_tables(forms: OrtForms, config: LanguageConfig) -> tuple[str, str]:
    """cos and sin [positions, E / 2], one row per position of the context."""
    half = config.head_dim // 2

    def pieces(which: int) -> Iterator[np.ndarray]:
        positions = torch.arange(config.max_positions)[None]
        table = rotary_angles(positions, config.head_dim, config.rope_theta, torch.float32)[which]
        yield table[0, 0, :, :half].numpy().astype(forms.dtype)

    def weight(which: int) -> Weight:
        shape = (config.max_positions, half)
        return Weight(dtype=forms.dtype, shape=shape, pieces=lambda: pieces(which))

    return forms.builder.weight("rotary.cos", weight(0)), forms.builder.weight("rotary.sin", weight(1))


def _table(config: LanguageConfig, tensor: str, form: str) -> Table:
    return Table(tensor=tensor, rows=config.vocab_size, columns=config.hidden, form=form)


def _norm(config: LanguageConfig, name: str) -> Norm:
    return Norm(name=name, size=config.hidden, eps=config.rms_norm_eps)
