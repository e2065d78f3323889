"""The decoder's cache for TensorRT: the past comes in, only the keys and values of the new tokens go out (delta-KV).

Standard operators that every parser since TensorRT 10.1 lists. The engine binds what goes out to the rows behind the
past, so nothing is copied; a mask says which rows of the past count, so a padded past keeps its shape from one step to
the next. Queries are scaled before the product, and the softmax is float32. The scores are a matrix's result like
others, float16 in an fp16 file; `verify` sees whether they fit (verify/ranges.py).

Axes: B batch, S new tokens, C past plus new tokens, G key/value heads, J query heads per key/value head, E head width,
F half of it.
"""

from __future__ import annotations

from ovexport.graphs.builder import ONNX_TYPES, GraphBuilder
from ovexport.graphs.rotary import rotary_tables
from ovexport.model.config import LanguageConfig


class DeltaCache:
    """See `ovexport.graphs.forms.Cache`. Past [past, B, G, E] is token-major, so that new rows go behind old ones."""

    def __init__(self, builder: GraphBuilder, config: LanguageConfig, dtype: str) -> None:
        self._builder, self._config, self._dtype = builder, config, dtype
        positions_BS = builder.input("position_ids", "int64", ["batch", "sequence"])
        mask_B11SC = builder.input("attention_mask", "float32", ["batch", 1, 1, "sequence", "total"])
        with builder.scope("rotary"):
            self._rotary = [
                builder.op("Unsqueeze", [builder.op("Gather", [table, positions_BS]), builder.const([2])])
                for table in rotary_tables(builder, config, "float32")
            ]  # cos and sin [B, S, 1, F]
        with builder.scope("mask"):
            self._mask = self._mask_of_groups(mask_B11SC)

    def attend(self, layer: int, qkv: str) -> str:
        b, config = self._builder, self._config
        groups, width = config.num_kv_heads, config.head_dim
        queries = config.num_heads * width
        q, k, v = b.op("Split", [qkv, b.const([queries, groups * width, groups * width])], outputs=3, axis=-1)
        q_BGQE = self._queries(q)
        k_CBGE = self._with_past(layer, "key", self._rotated(k, groups, 1.0))
        v_CBGE = self._with_past(layer, "value", b.op("Reshape", [v, b.const([0, 0, groups, width])]))
        scores_BGQC = b.op("MatMul", [q_BGQE, b.op("Transpose", [k_CBGE], perm=[1, 2, 3, 0])])
        masked_BGQC = b.op("Add", [self._cast(scores_BGQC, "float32"), self._mask])
        weights_BGQC = self._cast(b.op("Softmax", [masked_BGQC], axis=-1), self._dtype)
        y_BGQE = b.op("MatMul", [weights_BGQC, b.op("Transpose", [v_CBGE], perm=[1, 2, 0, 3])])
        y_BGJSE = b.op("Reshape", [y_BGQE, b.const([0, 0, config.num_heads // groups, -1, width])])
        return str(b.op("Reshape", [b.op("Transpose", [y_BGJSE], perm=[0, 3, 1, 2, 4]), b.const([0, 0, queries])]))

    def _mask_of_groups(self, mask_B11SC: str) -> str:
        """[B, 1, J * S, C]: the J heads of a group are J times S positions of one attention, which all see the same."""
        b, heads = self._builder, self._config.num_heads // self._config.num_kv_heads
        repeated_B1JSC = b.op("Expand", [mask_B11SC, b.const([1, 1, heads, 1, 1])])
        shape_5 = b.op("Shape", [repeated_B1JSC])
        last_1 = b.op("Slice", [shape_5, b.const([4]), b.const([5]), b.const([0])])
        shape_4 = b.op("Concat", [b.const([0, 1, -1]), last_1], axis=0)
        return str(b.op("Reshape", [repeated_B1JSC, shape_4]))

    def _queries(self, q: str) -> str:
        """[B, G, J * S, E], rotated and scaled."""
        b, groups, width = self._builder, self._config.num_kv_heads, self._config.head_dim
        heads = self._config.num_heads // groups
        q_BSHE = self._rotated(q, groups * heads, width**-0.5)
        q_BSGJE = b.op("Reshape", [q_BSHE, b.const([0, 0, groups, heads, width])])
        q_BGJSE = b.op("Transpose", [q_BSGJE], perm=[0, 2, 3, 1, 4])
        return str(b.op("Reshape", [q_BGJSE, b.const([0, groups, -1, width])]))

    def _rotated(self, x: str, heads: int, scale: float) -> str:
        """[B, S, heads, E], turned by the half-split form of RoPE, in float32 inside."""
        b, half = self._builder, self._config.head_dim // 2
        x_BSHE = b.op("Reshape", [self._cast(x, "float32"), b.const([0, 0, heads, 2 * half])])
        if scale != 1:
            x_BSHE = b.op("Mul", [x_BSHE, b.const(scale, "float32")])
        first, second = b.op("Split", [x_BSHE, b.const([half, half])], outputs=2, axis=-1)
        cos, sin = self._rotary
        turned = [
            b.op("Sub", [b.op("Mul", [first, cos]), b.op("Mul", [second, sin])]),
            b.op("Add", [b.op("Mul", [second, cos]), b.op("Mul", [first, sin])]),
        ]
        return self._cast(b.op("Concat", turned, axis=-1), self._dtype)

    def _with_past(self, layer: int, kind: str, new_BSGE: str) -> str:
        """[C, B, G, E]; declares the past and the new rows [S, B, G, E]."""
        b, sizes = self._builder, [self._config.num_kv_heads, self._config.head_dim]
        past = b.input(f"past_key_values.{layer}.{kind}", self._dtype, ["past", "batch", *sizes])
        new = f"new_key_values.{layer}.{kind}"
        b.op("Transpose", [new_BSGE], perm=[1, 0, 2, 3], outputs=[new])
        b.output(new, new, self._dtype, ["sequence", "batch", *sizes])
        return str(b.op("Concat", [past, new], axis=0))

    def _cast(self, x: str, dtype: str) -> str:
        if self._dtype == "float32":
            return x
        return str(self._builder.op("Cast", [x], to=ONNX_TYPES[dtype]))
