"""How long a stage takes at least: the operations it needs, or the bytes it has to read, at the machine's rates.

Counted are matrix products, attention and weights; what else a layer does is small beside them. Operations are two for
a multiplication and an addition.
"""

from __future__ import annotations

from benchmarks.limits import Limits
from ovexport.model import LanguageConfig, VisionConfig

# Bits of a weight as stored: blocks of 32 share a scale of 16 bits in llama.cpp's formats and in ONNX Runtime's.
WEIGHT_BITS = {"fp32": 32.0, "bf16": 16.0, "fp16": 16.0, "int8": 8.5, "q8_0": 8.5, "int4": 4.5, "q4_0": 4.5}
CACHE_BYTES = {"fp32": 4}  # of a key or value; two in all others


def encode_ops(tower: VisionConfig, tiles: int) -> float:
    patches = (tower.image_size_px // tower.patch_size_px) ** 2
    products = 2 * patches * (4 * tower.hidden**2 + 2 * tower.hidden * tower.intermediate)
    attention = 4 * patches**2 * tower.hidden
    convolution = 2 * patches * 3 * tower.patch_size_px**2 * tower.hidden
    return float(tiles * (tower.num_layers * (products + attention) + convolution))


def prefill_ops(language: LanguageConfig, tokens: int) -> float:
    """With logits of the last token only, and a causal half of attention."""
    products = 2 * tokens * layer_weights(language)
    attention = 2 * tokens**2 * language.num_heads * language.head_dim
    return float(language.num_layers * (products + attention) + 2 * head_weights(language))


def decode_bytes(language: LanguageConfig, context: int, precision: str) -> float:
    """All weights once, and all keys and values."""
    weights = language.num_layers * layer_weights(language) + head_weights(language)
    values = 2 * context * language.num_layers * language.num_kv_heads * language.head_dim
    return weights * WEIGHT_BITS[precision] / 8 + values * CACHE_BYTES.get(precision, 2)


def layer_weights(language: LanguageConfig) -> int:
    attention = 2 * language.hidden * language.head_dim * (language.num_heads + language.num_kv_heads)
    return attention + 3 * language.hidden * language.intermediate


def head_weights(language: LanguageConfig) -> int:
    return language.vocab_size * language.hidden


def floor_ms(
    work: str, size: int, precision: str, tower: VisionConfig, language: LanguageConfig, limits: Limits
) -> float:
    """Of `encode` (size: tiles), `prefill` (tokens) or `decode` (context)."""
    if work == "decode":
        return decode_bytes(language, size, precision) / limits.read_gb_per_s / 1e6
    ops = encode_ops(tower, size) if work == "encode" else prefill_ops(language, size)
    return ops / limits.rate_for(precision) / 1e6
