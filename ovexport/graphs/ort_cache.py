"""The decoder's cache for ONNX Runtime, past and present in one buffer, and two forms of attention over it.

`group_query` runs everywhere. `grouped_step` reads each cached key and value once per group of query heads when one
token is decoded: the heads of a group become positions of one attention, which on a CPU takes about half the time of
GroupQueryAttention at long contexts (docs/log.md). Prefill keeps GroupQueryAttention there, in the other branch.

Axes: B batch, S new tokens, C capacity, G key/value heads, J query heads per key/value head, E head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ovexport.graphs.builder import MICROSOFT, ONNX_TYPES, GraphBuilder
from ovexport.graphs.rotary import rotary_tables
from ovexport.model.config import LanguageConfig

Outputs = tuple[str, str, str]  # attended [B, S, heads * E], keys and values [B, G, C, E] with the new ones in them


@dataclass(frozen=True, kw_only=True)
class CachedAttention:
    """One layer: packed queries, keys and values [B, S, (heads + 2 G) * E], and what attention reads and writes."""

    qkv: str
    past: tuple[str, str]
    seqlens: str
    total: str
    rotary: tuple[str, str]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: str


def group_query(b: GraphBuilder, spec: CachedAttention) -> Outputs:
    """Past and present are bound to the same buffer by the engine, so no step copies the cache."""
    attended, keys, values = b.op(
        "GroupQueryAttention",
        [spec.qkv, "", "", *spec.past, spec.seqlens, spec.total, *spec.rotary],
        domain=MICROSOFT,
        outputs=3,
        num_heads=spec.num_heads,
        kv_num_heads=spec.num_kv_heads,
        do_rotary=1,
    )
    return attended, keys, values


def grouped_step(b: GraphBuilder, spec: CachedAttention) -> Outputs:
    """A step of one token by `_step`, anything longer by `group_query`; both write into the buffer that is bound."""
    one_token = b.once("is_step", lambda: _is_one_token(b, spec))
    write_B = b.once("write_index", lambda: b.op("Cast", [spec.seqlens], to=ONNX_TYPES["int64"]))
    held_B = b.once("held_tokens", lambda: b.op("Add", [write_B, b.const([1])]))
    step = b.branch("step", lambda: _step(b, spec, write_B, held_B), spec.dtype)
    prefill = b.branch("prefill", lambda: group_query(b, spec), spec.dtype)
    attended, keys, values = b.op("If", [one_token], outputs=3, then_branch=step, else_branch=prefill)
    return attended, keys, values


def _step(b: GraphBuilder, spec: CachedAttention, write_B: str, held_B: str) -> Outputs:
    """S = 1. The J heads of a group are J positions that all see every cached token, so no mask is needed.

    Every node costs some microseconds, so queries and keys are rotated together.
    """
    heads, groups, width = spec.num_heads, spec.num_kv_heads, spec.head_dim
    packed = b.op("Reshape", [spec.qkv, b.const([-1, heads + 2 * groups, 1, width])])
    turning, v_BG1E = b.op("Split", [packed, b.const([heads + groups, groups])], outputs=2, axis=1)
    position_B1 = b.op("Unsqueeze", [write_B, b.const([1])])
    turned = b.op("RotaryEmbedding", [turning, position_B1, *spec.rotary], domain=MICROSOFT)
    q, k_BG1E = b.op("Split", [turned, b.const([heads, groups])], outputs=2, axis=1)
    q_BGJE = b.op("Reshape", [q, b.const([-1, groups, heads // groups, width])])
    keys, values = (
        b.op("TensorScatter", [past, new, write_B], axis=-2)
        for past, new in zip(spec.past, (k_BG1E, v_BG1E), strict=True)
    )
    y_BGJE = b.op("Attention", [q_BGJE, keys, values, "", "", "", held_B])
    return b.op("Reshape", [y_BGJE, b.const([-1, 1, heads * width])]), keys, values


def _is_one_token(b: GraphBuilder, spec: CachedAttention) -> str:
    shape = b.op("Shape", [spec.qkv])
    return str(b.op("Equal", [b.op("Gather", [shape, b.const(1)]), b.const(1)]))


ATTENTION_FORMS: dict[str, Callable[[GraphBuilder, CachedAttention], Outputs]] = {
    "group_query": group_query,
    "grouped_step": grouped_step,
}


class SharedBufferCache:
    """See `ovexport.graphs.forms.Cache`; the engine binds each past and its present to the same memory."""

    def __init__(self, builder: GraphBuilder, config: LanguageConfig, dtype: str, attention_form: str) -> None:
        self._builder, self._config, self._dtype = builder, config, dtype
        self._attend = ATTENTION_FORMS[attention_form]
        self._seqlens = builder.input("seqlens_k", "int32", ["batch"])
        self._total = builder.input("total_sequence_length", "int32", [])
        self._rotary = rotary_tables(builder, config, dtype)

    def attend(self, layer: int, qkv: str) -> str:
        b, config = self._builder, self._config
        shape: list[int | str] = ["batch", config.num_kv_heads, "capacity", config.head_dim]
        key, value = (b.input(f"past_key_values.{layer}.{kind}", self._dtype, shape) for kind in ("key", "value"))
        spec = CachedAttention(
            qkv=qkv,
            past=(key, value),
            seqlens=self._seqlens,
            total=self._total,
            rotary=self._rotary,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            dtype=self._dtype,
        )
        attended, keys, values = self._attend(b, spec)
        for new, kind in ((keys, "key"), (values, "value")):
            b.output(new, f"present.{layer}.{kind}", self._dtype, shape)
        return attended
