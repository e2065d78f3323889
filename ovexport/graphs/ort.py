"""The emitter table for ONNX Runtime: how each operation of the model is said in its nodes.

Fused contrib operators where they exist, because ONNX Runtime does not find them again in decomposed graphs
(measured, docs/adr/0001). A graph file (vision.py, decoder.py, ...) asks for an operation by name and knows none
of this; another target is another table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ovexport.graphs.builder import MICROSOFT, ONNX_TYPES, GraphBuilder
from ovexport.graphs.forms import Linear, Norm, Table
from ovexport.graphs.logits import declare_logits
from ovexport.graphs.ort_cache import SharedBufferCache
from ovexport.graphs.token_pool import POOL, POOL_DOMAIN, token_pool_function
from ovexport.model.config import LanguageConfig
from ovexport.precision import weights as W
from ovexport.precision.policy import BLOCK_FORMS
from ovexport.precision.weights import TensorSource

# 4: activations are rounded to int8 per block of 32 and multiplied as integers; two to sixty times faster than the
# kernels for 8-bit weights without it, at an error below that of the weights (docs/log.md).
INT8_ACTIVATIONS = 4


@dataclass(frozen=True, kw_only=True)
class OrtForms:
    """See `ovexport.graphs.forms.Forms`. The residual stream has the type of the activations."""

    builder: GraphBuilder
    source: TensorSource
    dtype: str
    attention_form: str

    @property
    def stream(self) -> str:
        return self.dtype

    @property
    def patches(self) -> str:
        return "float32" if self.dtype == "bfloat16" else self.dtype  # ONNX's Conv takes bfloat16 from opset 22 on

    def linear(self, x: str, spec: Linear) -> str:
        if spec.form == "dense":
            return _dense_linear(self, x, spec)
        name = spec.joined("weight")
        return _matmul_blocks(self, x, name, spec.form, spec.tensors, spec.rows, spec.columns, self._bias(spec))

    def layer_norm(self, x: str, spec: Norm) -> str:
        weight, bias = (self._vector(f"{spec.name}.{kind}", spec.size) for kind in ("weight", "bias"))
        return str(self.builder.op("LayerNormalization", [x, weight, bias], axis=-1, epsilon=spec.eps))

    def rms_norm(self, x: str, spec: Norm) -> str:
        weight = self._vector(f"{spec.name}.weight", spec.size)
        return str(self.builder.op("SimplifiedLayerNormalization", [x, weight], axis=-1, epsilon=spec.eps))

    def add_rms_norm(self, x: str, residual: str, spec: Norm) -> tuple[str, str]:
        weight = self._vector(f"{spec.name}.weight", spec.size)
        path = f"{spec.name}/add"
        self.builder.op(
            "SkipSimplifiedLayerNormalization",
            [x, residual, weight],
            domain=MICROSOFT,
            outputs=[f"{path}/norm", "", "", path],
            epsilon=spec.eps,
        )
        return path, f"{path}/norm"

    def add_layer_norm(self, x: str, residual: str, spec: Norm) -> tuple[str, str]:
        weight, bias = (self._vector(f"{spec.name}.{kind}", spec.size) for kind in ("weight", "bias"))
        path = f"{spec.name}/add"
        self.builder.op(
            "SkipLayerNormalization",
            [x, residual, weight, bias],
            domain=MICROSOFT,
            outputs=[f"{path}/norm", "", "", path],
            epsilon=spec.eps,
        )
        return path, f"{path}/norm"

    def gelu_tanh(self, x: str) -> str:
        return str(self.builder.op("FastGelu", [x], domain=MICROSOFT))

    def gelu_erf(self, x: str) -> str:
        return str(self.builder.op("Gelu", [x], domain=MICROSOFT))

    def silu(self, x: str) -> str:
        return str(self.builder.op("QuickGelu", [x], domain=MICROSOFT, alpha=1.0))

    def attention(self, q: str, k: str, v: str, heads: int, head_dim: int) -> str:
        return str(self.builder.op("MultiHeadAttention", [q, k, v], domain=MICROSOFT, num_heads=heads))

    def open_cache(self, config: LanguageConfig) -> SharedBufferCache:
        return SharedBufferCache(self.builder, config, self.dtype, self.attention_form)

    def take_rows(self, x_BSD: str, index_BK: str) -> str:
        b = self.builder
        index_BK1 = b.op("Unsqueeze", [index_BK, b.const([2])])
        return str(b.op("GatherND", [x_BSD, index_BK1], batch_dims=1))

    def visual_rows(self, embeds_TD: str, index_BS: str) -> str:
        b = self.builder  # index -1 takes the last row, of zeros: there may be no visual token at all
        padded = b.op("Pad", [embeds_TD, b.const([0, 0, 1, 0]), b.const(0.0, "float32")])
        return str(b.op("Gather", [padded, index_BS], axis=0))

    def token_pool(self, rows_RD: str, indices_T4: str, weights_T4: str) -> str:
        self.builder.functions.append(token_pool_function())
        return str(self.builder.op(POOL, [rows_RD, indices_T4, weights_T4], domain=POOL_DOMAIN))

    def add(self, x: str, residual: str) -> str:
        return str(self.builder.op("Add", [x, residual]))

    def to_patches(self, pixels: str) -> str:
        return pixels if self.patches == "float32" else self.from_float32(pixels)

    def to_stream(self, x: str, dtype: str) -> str:
        return x if dtype == self.dtype else self.from_float32(x)

    def stream_to_float32(self, x: str) -> str:
        return self.to_float32(x)

    def declare_logits(self, logits_BKV: str, vocab: int) -> None:
        if self.dtype == "float32":  # runs on CPUs alone
            self.builder.output(logits_BKV, "logits", "float32", ["batch", "rows", vocab])
        else:
            declare_logits(self.builder, logits_BKV, vocab)

    def from_float32(self, x: str) -> str:
        if self.dtype == "float32":
            return x
        return str(self.builder.op("Cast", [x], to=ONNX_TYPES[self.dtype]))

    def to_float32(self, x: str) -> str:
        if self.dtype == "float32":
            return x
        return str(self.builder.op("Cast", [x], to=ONNX_TYPES["float32"]))

    def embed(self, ids: str, table: Table) -> str:
        return _dense_embed(self, ids, table) if table.form == "dense" else _block_embed(self, ids, table)

    def head(self, x: str, table: Table) -> str:
        if table.form == "dense":
            return _dense_head(self, x, table)
        return _matmul_blocks(self, x, table.tensor, table.form, [table.tensor], table.rows, table.columns, None)

    def _vector(self, name: str, size: int) -> str:
        return self.builder.weight(name, W.vector(self.source, [name], self.dtype, size))

    def _bias(self, spec: Linear) -> str | None:
        if not spec.bias:
            return None
        names = [f"{n}.bias" for n in spec.names]
        return self.builder.weight(spec.joined("bias"), W.vector(self.source, names, self.dtype, spec.rows))


def _dense_linear(forms: OrtForms, x: str, spec: Linear) -> str:
    weight = W.transposed(forms.source, spec.tensors, forms.dtype, spec.rows, spec.columns)
    y = forms.builder.op("MatMul", [x, forms.builder.weight(spec.joined("weight"), weight)])
    bias = forms._bias(spec)
    return str(forms.builder.op("Add", [y, bias])) if bias else str(y)


def _matmul_blocks(
    forms: OrtForms,
    x: str,
    name: str,
    form_name: str,
    tensors: Sequence[str],
    rows: int,
    columns: int,
    bias: str | None,
) -> str:
    form = BLOCK_FORMS[form_name]
    weights = W.block_weights(forms.source, tensors, form, rows, columns)
    codes = forms.builder.weight(f"{name}.codes", weights.codes)
    scales = forms.builder.weight(f"{name}.scales", weights.scales)
    zeros = forms.builder.weight(f"{name}.zeros", weights.zeros) if weights.zeros else ""
    return str(
        forms.builder.op(
            "MatMulNBits",
            [x, codes, scales, zeros, "", bias or ""],
            domain=MICROSOFT,
            K=columns,
            N=rows,
            bits=form.bits,
            block_size=form.block_for(columns),
            accuracy_level=INT8_ACTIVATIONS,
        )
    )


def _dense_embed(forms: OrtForms, ids: str, table: Table) -> str:
    return str(forms.builder.op("Gather", [_dense_table(forms, table), ids], axis=0))


def _dense_head(forms: OrtForms, x: str, table: Table) -> str:
    # Not MatMul of a Transpose: that is folded into a second table at load, +1 GB at the 0.5B shape.
    return str(forms.builder.op("FusedMatMul", [x, _dense_table(forms, table)], domain=MICROSOFT, transB=1))


def _dense_table(forms: OrtForms, table: Table) -> str:
    weight = W.array(forms.source, table.tensor, forms.dtype, (table.rows, table.columns))
    return forms.builder.weight(table.tensor, weight)


def _block_embed(forms: OrtForms, ids: str, table: Table) -> str:
    """Gathers [.., G, E] from the very tensor that the head multiplies with; only the scales are stored twice."""
    b, form = forms.builder, BLOCK_FORMS[table.form]
    block_size = form.block_for(table.columns)
    assert block_size is not None
    groups = -(-table.columns // block_size)
    weights = W.block_weights(forms.source, [table.tensor], form, table.rows, table.columns)
    codes = b.weight(f"{table.tensor}.codes", weights.codes)
    own_scales = W.gather_scales(forms.source, table.tensor, form, table.rows, table.columns)
    scales = b.weight(f"{table.tensor}.gather_scales", own_scales)
    gathered = b.op(
        "GatherBlockQuantized",
        [codes, ids, scales],
        domain=MICROSOFT,
        bits=form.bits,
        block_size=block_size,
        gather_axis=0,
        quantize_axis=2,
    )
    flat = b.op("Reshape", [gathered, b.const([0, 0, groups * block_size])])
    if groups * block_size == table.columns:
        return str(flat)
    return str(b.op("Slice", [flat, b.const([0]), b.const([table.columns]), b.const([2])]))
