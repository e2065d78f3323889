"""The decoder: Qwen2 with its cache: ids and visual tokens -> logits of the rows asked for.

Axes: B batch, S new tokens, T visual tokens, K rows of logits, V vocabulary, D width, E head width. The lookup of
embeddings and their merge with visual tokens live inside, the head runs only on the rows asked for. Mirrors
ovexport/model/qwen2.py and OneVision.merge.
"""

from __future__ import annotations

from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.forms import Cache, Forms, Linear, Norm, Table
from ovexport.model.config import LanguageConfig

LM = "language_model"


def build_decoder(forms: Forms, config: LanguageConfig, *, linear_form: str, table_form: str) -> GraphBuilder:
    """Inputs and outputs are those of docs/bundle-format.md; the emitter knows the form of the cache."""
    b = forms.builder
    inputs = _declare_inputs(b, config)
    table = _table(config, f"{LM}.embed_tokens.weight", table_form)
    x = _merge(forms, inputs, forms.embed(inputs["input_ids"], table))
    cache = forms.open_cache(config)
    normed = forms.rms_norm(x, _norm(config, f"{LM}.layers.0.input_layernorm"))
    for layer in range(config.num_layers):
        with b.scope(f"{LM}.{layer}"):
            attended = _attention(forms, normed, config, layer, linear_form, cache)
            post = _norm(config, f"{LM}.layers.{layer}.post_attention_layernorm")
            x, normed = forms.add_rms_norm(x, attended, post)
            mlp = _mlp(forms, normed, config, layer, linear_form)
            last = layer + 1 == config.num_layers
            following = f"{LM}.norm" if last else f"{LM}.layers.{layer + 1}.input_layernorm"
            x, normed = forms.add_rms_norm(x, mlp, _norm(config, following))
    rows_BKD = forms.take_rows(normed, inputs["logits_index"])
    head = table if config.tie_word_embeddings else _table(config, f"{LM}.lm_head.weight", table_form)
    forms.declare_logits(forms.to_float32(forms.head(rows_BKD, head)), config.vocab_size)
    return b


def _declare_inputs(b: GraphBuilder, config: LanguageConfig) -> dict[str, str]:
    return {
        "input_ids": b.input("input_ids", "int64", ["batch", "sequence"]),
        "embed_index": b.input("embed_index", "int64", ["batch", "sequence"]),
        "image_embeds": b.input("image_embeds", "float32", ["image_tokens", config.hidden]),
        "logits_index": b.input("logits_index", "int64", ["batch", "rows"]),
    }


def _merge(forms: Forms, inputs: dict[str, str], text_BSD: str) -> str:
    """The residual stream: rows of image_embeds where embed_index says so, the text's embeddings elsewhere."""
    b = forms.builder
    visual_BSD = forms.to_stream(forms.visual_rows(inputs["image_embeds"], inputs["embed_index"]), "float32")
    is_text_BS = b.op("Less", [inputs["embed_index"], b.const(0)])
    is_text_BS1 = b.op("Unsqueeze", [is_text_BS, b.const([2])])
    return str(b.op("Where", [is_text_BS1, forms.to_stream(text_BSD, forms.dtype), visual_BSD]))


def _attention(forms: Forms, x: str, config: LanguageConfig, layer: int, linear_form: str, cache: Cache) -> str:
    path, width = f"{LM}.layers.{layer}.self_attn", config.num_heads * config.head_dim
    names = tuple(f"{path}.{kind}_proj" for kind in "qkv")
    rows = width + 2 * config.num_kv_heads * config.head_dim
    qkv = forms.linear(x, Linear(names=names, rows=rows, columns=config.hidden, bias=True, form=linear_form))
    out = Linear(names=(f"{path}.o_proj",), rows=config.hidden, columns=width, bias=False, form=linear_form)
    return forms.linear(cache.attend(layer, qkv), out)


def _mlp(forms: Forms, x: str, config: LanguageConfig, layer: int, linear_form: str) -> str:
    b, path, wide = forms.builder, f"{LM}.layers.{layer}.mlp", config.intermediate
    names = (f"{path}.gate_proj", f"{path}.up_proj")
    both = forms.linear(x, Linear(names=names, rows=2 * wide, columns=config.hidden, bias=False, form=linear_form))
    gate, up = b.op("Split", [both, b.const([wide, wide])], outputs=2, axis=-1)
    gated = b.op("Mul", [forms.silu(gate), up])
    down = Linear(names=(f"{path}.down_proj",), rows=config.hidden, columns=wide, bias=False, form=linear_form)
    return forms.linear(gated, down)


def _table(config: LanguageConfig, tensor: str, form: str) -> Table:
    return Table(tensor=tensor, rows=config.vocab_size, columns=config.hidden, form=form)


def _norm(config: LanguageConfig, name: str) -> Norm:
    return Norm(name=name, size=config.hidden, eps=config.rms_norm_eps)
