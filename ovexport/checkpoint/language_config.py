"""Qwen2's part of a config.json: the `text_config` of Hugging Face, the top level of LLaVA-NeXT.

Knows the fields and what transformers fills in for absent ones; refuses variants of Qwen2 that
`ovexport.model` does not compute (another activation, sliding windows, scaled RoPE).
"""

from __future__ import annotations

from ovexport.checkpoint.json_fields import MAX_LAYERS, Fields, bad_checkpoint
from ovexport.model.config import LanguageConfig


def read_language_config(fields: Fields, *, tied: bool, rope_scaling_ignored: bool = False) -> LanguageConfig:
    """Raises OVError (BAD_INPUT). `rope_scaling_ignored`: LLaVA-NeXT's model class drops it whatever the file says."""
    fields.require("hidden_act", "silu", among=("silu",))
    if fields.values.get("use_sliding_window"):
        raise bad_checkpoint(f"{fields.where}: use_sliding_window is on, which is not supported")
    layer_types = fields.values.get("layer_types") or []
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        raise bad_checkpoint(f"{fields.where}: layer_types has more than full_attention, not supported")
    hidden, num_heads = fields.positive("hidden_size"), fields.positive("num_attention_heads")
    num_kv_heads = fields.positive("num_key_value_heads", num_heads)
    if hidden % num_heads or num_heads % num_kv_heads:
        raise bad_checkpoint(
            f"{fields.where}: {num_heads} heads do not fit {hidden} features and {num_kv_heads} key/value heads"
        )
    return LanguageConfig(
        vocab_size=fields.positive("vocab_size"),
        hidden=hidden,
        intermediate=fields.positive("intermediate_size"),
        num_layers=fields.positive("num_hidden_layers", at_most=MAX_LAYERS),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=fields.positive("head_dim", hidden // num_heads),
        max_positions=fields.positive("max_position_embeddings", 32768),
        tie_word_embeddings=tied,
        rope_theta=_rope_theta(fields, rope_scaling_ignored),
        rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
    )


def declared_tie(text: Fields, top: Fields) -> bool | None:
    """What the file says of a tied head, None where it cannot be trusted to say anything.

    Hugging Face wrote `false` at the top level even where `text_config` is tied
    (huggingface/transformers#43617).
    """
    if "tie_word_embeddings" in text:
        return bool(text.values["tie_word_embeddings"])
    return True if top.values.get("tie_word_embeddings") else None


def _rope_theta(fields: Fields, scaling_ignored: bool) -> float:
    """transformers 5 writes rope_parameters {rope_theta, rope_type}; 4.x rope_theta and rope_scaling."""
    rope = fields.object("rope_parameters")
    scaling = rope if rope.values else fields.object("rope_scaling")
    kind = scaling.values.get("rope_type", scaling.values.get("type", "default"))
    if kind != "default" and not scaling_ignored:
        raise bad_checkpoint(f"{fields.where}: RoPE of type {kind!r} is not supported")
    return rope.number("rope_theta", fields.number("rope_theta", 10000.0))
