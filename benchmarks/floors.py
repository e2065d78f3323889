"""How long a piece of work takes at least: the operations it needs, or the bytes it reads, at the machine's rates.

Counted are matrix products, attention and weights; what else a layer does is small beside them. Operations are two for
a multiplication and an addition. A step reads what its contestant says that its files and its cache hold
(`Contestant.decoder_bytes`); of one that does not say, weights and cache count as their precision's name tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.limits import Limits
from ovexport.model import LanguageConfig, VisionConfig

# Bits of a weight: llama.cpp's blocks of 32 share a scale of 16 bits, which is also what is taken for all others.
WEIGHT_BITS = {"fp32": 32.0, "bf16": 16.0, "fp16": 16.0, "int8": 8.5, "q8_0": 8.5, "int4": 4.5, "q4_0": 4.5}
CACHE_BYTES = {"fp32": 4}  # of a key or value; two in all others
DEFINITION = (
    "x floor: the median over the least time that the limits above allow. Encoding, projecting and reading a prompt: "
    "operations of all matrix products and of attention (the causal half; logits of the last token only) at the rate "
    "of the fastest type that the precision may calculate in. A step: the bytes of the decoder's weights as that "
    "contestant's own files hold them, and of its own keys and values (ours: float32; llama.cpp: float16), each read "
    "once; of transformers and OpenVINO, weights and cache in the precision of the column."
)


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a piece of work needs at least: operations, or bytes that are read."""

    ops: float = 0.0
    bytes: float = 0.0

    def floor_ms(self, precision: str, limits: Limits) -> float:
        return max(self.ops / limits.rate_for(precision), self.bytes / limits.read_gb_per_s) / 1e6


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of the model that all are measured with."""

    tower: VisionConfig
    language: LanguageConfig

    def need(self, work: str, size: int, precision: str, reads: Mapping[str, float] | None = None) -> Need:
        """Of `encode` (size: tiles), `prefill` (tokens) or `decode` (context); `reads` is a contestant's own word."""
        if work == "encode":
            return Need(ops=encode_ops(self.tower, size))
        if work == "prefill":
            return Need(ops=prefill_ops(self.language, size))
        if reads is None:
            return Need(bytes=decode_bytes(self.language, size, precision))
        return Need(bytes=reads["weights"] + size * reads["per_token"])


def encode_ops(tower: VisionConfig, tiles: int) -> float:
    patches = patches_of(tower)
    products = 2 * patches * (4 * tower.hidden**2 + 2 * tower.hidden * tower.intermediate)
    attention = 4 * patches**2 * tower.hidden
    convolution = 2 * patches * 3 * tower.patch_size_px**2 * tower.hidden
    return float(tiles * (tower.num_layers * (products + attention) + convolution))


def project_ops(tower: VisionConfig, language: LanguageConfig, tiles: int) -> float:
    """Two layers over every patch."""
    return float(2 * tiles * patches_of(tower) * language.hidden * (tower.hidden + language.hidden))


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


def patches_of(tower: VisionConfig) -> int:
    return (tower.image_size_px // tower.patch_size_px) ** 2


def layer_weights(language: LanguageConfig) -> int:
    attention = 2 * language.hidden * language.head_dim * (language.num_heads + language.num_kv_heads)
    return attention + 3 * language.hidden * language.intermediate


def head_weights(language: LanguageConfig) -> int:
    return language.vocab_size * language.hidden
