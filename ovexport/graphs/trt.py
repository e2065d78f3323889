"""The emitter table for TensorRT: standard operators of opset 20 (21 for 4-bit weights), strongly typed.

The types in the file are the types of the engine: matrices take and give `dtype`; the residual stream, norms, softmax,
GELU and SiLU are float32, so that nothing but a matrix's own result has to fit float16. What parsers accept is in
trt_support.py; a graph file (vision.py, decoder.py, ...) knows none of this.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovexport.graphs.builder import ONNX_TYPES, GraphBuilder
from ovexport.graphs.forms import Linear, Norm, Table
from ovexport.graphs.logits import declare_logits
from ovexport.graphs.token_pool import PLUGIN_VERSION, POOL, POOL_DOMAIN
from ovexport.graphs.trt_cache import DeltaCache
from ovexport.model.config import LanguageConfig
from ovexport.precision import weights as W
from ovexport.precision.blocks import BlockForm
from ovexport.precision.policy import BLOCK_FORMS, Policy
from ovexport.precision.weights import TensorSource


@dataclass(frozen=True, kw_only=True)
class TrtForms:
    """See `ovexport.graphs.forms.Forms`. The residual stream is float32."""

    builder: GraphBuilder
    source: TensorSource
    policy: Policy

    @property
    def dtype(self) -> str:
        return self.policy.activations

    @property
    def stream(self) -> str:
        return "float32"

    @property
    def patches(self) -> str:
        return self.stream

    def linear(self, x: str, spec: Linear) -> str:
        b, form = self.builder, BLOCK_FORMS.get(spec.form)
        if form and form.block_for(spec.columns) and spec.rows % 2 == 0:
            weight = self._int4(spec, form)
        else:
            matrix = W.transposed(self.source, spec.tensors, self.dtype, spec.rows, spec.columns)
            weight = b.weight(spec.joined("weight"), matrix)
        y = b.op("MatMul", [x, weight])
        if not spec.bias:
            return str(y)
        biases = W.vector(self.source, [f"{name}.bias" for name in spec.names], self.dtype, spec.rows)
        return str(b.op("Add", [y, b.weight(spec.joined("bias"), biases)]))

    def _int4(self, spec: Linear, form: BlockForm) -> str:
        """The matrix [K, N] as the parser recognises weights of 4 bits; no zero point, for it has to be zero."""
        b, args = self.builder, (self.source, spec.tensors, form, spec.rows, spec.columns)
        codes = b.weight(spec.joined("weight.codes"), W.int4_matrix(*args))
        scales = b.weight(spec.joined("weight.scales"), W.int4_scales(*args, self.dtype))
        return str(b.op("DequantizeLinear", [codes, scales], axis=0, block_size=form.block_for(spec.columns)))

    def layer_norm(self, x: str, spec: Norm) -> str:
        weight, bias = (self._vector(f"{spec.name}.{kind}", spec.size) for kind in ("weight", "bias"))
        normed = self.builder.op("LayerNormalization", [x, weight, bias], axis=-1, epsilon=spec.eps)
        return self.from_float32(str(normed))

    def rms_norm(self, x: str, spec: Norm) -> str:
        b = self.builder
        mean = b.op("ReduceMean", [b.op("Mul", [x, x]), b.const([-1])], keepdims=1)
        root = b.op("Sqrt", [b.op("Add", [mean, b.const(spec.eps, "float32")])])
        scaled = b.op("Mul", [b.op("Div", [x, root]), self._vector(f"{spec.name}.weight", spec.size)])
        return self.from_float32(str(scaled))

    def add_rms_norm(self, x: str, residual: str, spec: Norm) -> tuple[str, str]:
        total = self.add(x, residual)
        return total, self.rms_norm(total, spec)

    def add_layer_norm(self, x: str, residual: str, spec: Norm) -> tuple[str, str]:
        total = self.add(x, residual)
        return total, self.layer_norm(total, spec)

    def add(self, x: str, residual: str) -> str:
        return str(self.builder.op("Add", [x, self.to_float32(residual)]))

    def gelu_tanh(self, x: str) -> str:
        return self.from_float32(str(self.builder.op("Gelu", [self.to_float32(x)], approximate="tanh")))

    def gelu_erf(self, x: str) -> str:
        return self.from_float32(str(self.builder.op("Gelu", [self.to_float32(x)])))

    def silu(self, x: str) -> str:
        wide = self.to_float32(x)
        return self.from_float32(str(self.builder.op("Mul", [wide, self.builder.op("Sigmoid", [wide])])))

    def attention(self, q: str, k: str, v: str, heads: int, head_dim: int) -> str:
        b = self.builder
        split = b.const([0, 0, heads, head_dim])
        q_BPHE, k_BPHE, v_BPHE = (b.op("Reshape", [x, split]) for x in (q, k, v))
        scaled_BPHE = b.op("Mul", [self.to_float32(q_BPHE), b.const(head_dim**-0.5, "float32")])
        q_BHPE = b.op("Transpose", [self.from_float32(scaled_BPHE)], perm=[0, 2, 1, 3])
        scores_BHPP = b.op("MatMul", [q_BHPE, b.op("Transpose", [k_BPHE], perm=[0, 2, 3, 1])])
        weights_BHPP = self.from_float32(b.op("Softmax", [self.to_float32(scores_BHPP)], axis=-1))
        y_BHPE = b.op("MatMul", [weights_BHPP, b.op("Transpose", [v_BPHE], perm=[0, 2, 1, 3])])
        y_BPHE = b.op("Transpose", [y_BHPE], perm=[0, 2, 1, 3])
        return str(b.op("Reshape", [y_BPHE, b.const([0, 0, heads * head_dim])]))

    def open_cache(self, config: LanguageConfig) -> DeltaCache:
        return DeltaCache(self.builder, config, self.dtype)

    def take_rows(self, x_BSD: str, index_BK: str) -> str:
        b = self.builder  # GatherND with batch_dims is a form that no parser's documentation mentions
        width_1 = b.op("Slice", [b.op("Shape", [x_BSD]), b.const([2]), b.const([3]), b.const([0])])
        shape_3 = b.op("Concat", [b.op("Shape", [index_BK]), width_1], axis=0)
        index_BKD = b.op("Expand", [b.op("Unsqueeze", [index_BK, b.const([2])]), shape_3])
        return str(b.op("GatherElements", [x_BSD, index_BKD], axis=1))

    def visual_rows(self, embeds_TD: str, index_BS: str) -> str:
        b = self.builder  # a parser may not take negative indices; the engine sees to it that there is a row
        return str(b.op("Gather", [embeds_TD, b.op("Max", [index_BS, b.const(0)])], axis=0))

    def token_pool(self, rows_RD: str, indices_T4: str, weights_T4: str) -> str:
        """Without a function's body, which a parser might inline in place of the plugin.

        The attribute of the namespace is written out: before 10.10 the node's domain is not looked at.
        """
        attributes = {"plugin_version": PLUGIN_VERSION, "plugin_namespace": ""}
        return str(self.builder.op(POOL, [rows_RD, indices_T4, weights_T4], domain=POOL_DOMAIN, **attributes))

    def from_float32(self, x: str) -> str:
        return self._cast(x, self.dtype)

    def to_float32(self, x: str) -> str:
        return self._cast(x, "float32")

    def to_patches(self, pixels: str) -> str:
        return pixels

    def to_stream(self, x: str, dtype: str) -> str:
        return x if dtype == "float32" else self.to_float32(x)

    def stream_to_float32(self, x: str) -> str:
        return x

    def embed(self, ids: str, table: Table) -> str:
        return str(self.builder.op("Gather", [self._table(table), ids], axis=0))

    def head(self, x: str, table: Table) -> str:
        """Gemm takes the table as it lies, so that a tied one is there once."""
        b = self.builder
        flat = b.op("Gemm", [b.op("Reshape", [x, b.const([-1, table.columns])]), self._table(table)], transB=1)
        rows_2 = b.op("Slice", [b.op("Shape", [x]), b.const([0]), b.const([2]), b.const([0])])
        return str(b.op("Reshape", [flat, b.op("Concat", [rows_2, b.const([table.rows])], axis=0)]))

    def declare_logits(self, logits_BKV: str, vocab: int) -> None:
        declare_logits(self.builder, logits_BKV, vocab)

    def _cast(self, x: str, dtype: str) -> str:
        if self.dtype == "float32":
            return x
        return str(self.builder.op("Cast", [x], to=ONNX_TYPES[dtype]))

    def _vector(self, name: str, size: int) -> str:
        return self.builder.weight(name, W.vector(self.source, [name], "float32", size))

    def _table(self, table: Table) -> str:
        weight = W.array(self.source, table.tensor, self.dtype, (table.rows, table.columns))
        return self.builder.weight(table.tensor, weight)
