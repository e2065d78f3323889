"""What a graph file asks an emitter for: matrices, norms and tables by the names of their parameters.

Engine-neutral; the parameters' names are those of `ovexport.model.OneVision`. An emitter (ort.py, trt.py) says each
operation in the nodes of its engine. The residual stream, to which every layer adds, may be wider than the activations
that matrices take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ovexport.graphs.builder import GraphBuilder
from ovexport.model.config import LanguageConfig
from ovexport.precision.weights import TensorSource


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One linear layer, or several that read the same input and are multiplied as one wide matrix."""

    names: tuple[str, ...]  # modules, e.g. language_model.layers.0.self_attn.q_proj
    rows: int  # outputs of all of them together
    columns: int
    bias: bool
    form: str

    @property
    def tensors(self) -> list[str]:
        return [f"{name}.weight" for name in self.names]

    def joined(self, kind: str) -> str:
        """Name of the joined tensor: a.b.q_proj + a.b.k_proj -> a.b.q_proj+k_proj.weight."""
        first, *rest = self.names
        return "+".join([first, *(name.rsplit(".", 1)[-1] for name in rest)]) + f".{kind}"


@dataclass(frozen=True, kw_only=True)
class Norm:
    name: str
    size: int
    eps: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A vocabulary's table [V, D]: read by row as embedding, multiplied whole as head."""

    tensor: str
    rows: int
    columns: int
    form: str


class Cache(Protocol):
    """How a decoder takes and gives keys and values: one object per graph, which declares the inputs it needs."""

    def attend(self, layer: int, qkv: str) -> str:
        """Rotation and causal grouped-query attention over past and new tokens: packed [B, S, (H + 2G) * E] -> [B, S,
        H * E]. Declares the layer's cache inputs and outputs."""


class Forms(Protocol):
    """Operations on the one graph under construction."""

    @property
    def builder(self) -> GraphBuilder: ...

    @property
    def source(self) -> TensorSource: ...

    @property
    def dtype(self) -> str:
        """Of the activations that matrices take and give."""

    @property
    def stream(self) -> str:
        """Type of the residual stream."""

    @property
    def patches(self) -> str:
        """Type of the convolution that makes patches of pixels."""

    def linear(self, x: str, spec: Linear) -> str:
        """x @ W' + b, for one or several matrices side by side."""

    def layer_norm(self, x: str, spec: Norm) -> str:
        """Of the stream, as activations."""

    def rms_norm(self, x: str, spec: Norm) -> str:
        """Of the stream, as activations."""

    def add_rms_norm(self, x: str, residual: str, spec: Norm) -> tuple[str, str]:
        """(x + residual, its norm); x and the sum are the stream, residual and norm are activations."""

    def add_layer_norm(self, x: str, residual: str, spec: Norm) -> tuple[str, str]:
        """As `add_rms_norm`."""

    def add(self, x: str, residual: str) -> str:
        """x + residual without a norm."""

    def gelu_tanh(self, x: str) -> str: ...

    def gelu_erf(self, x: str) -> str: ...

    def silu(self, x: str) -> str: ...

    def attention(self, q: str, k: str, v: str, heads: int, head_dim: int) -> str:
        """Every token sees every token; [B, S, heads * head_dim] in and out."""

    def open_cache(self, config: LanguageConfig) -> Cache:
        """Declares the inputs that say where in the context the new tokens stand."""

    def take_rows(self, x_BSD: str, index_BK: str) -> str:
        """[B, S, D] and indices into S [B, K] -> [B, K, D]."""

    def visual_rows(self, embeds_TD: str, index_BS: str) -> str:
        """Rows [B, S, D] of the visual tokens; where the index is -1 whatever is easy, for nobody looks at it."""

    def token_pool(self, rows_RD: str, indices_T4: str, weights_T4: str) -> str:
        """Visual tokens [T, D], each a weighted sum of four rows."""

    def from_float32(self, x: str) -> str:
        """Graphs take and give float32 whatever they compute in, so that the runtime need not know."""

    def to_float32(self, x: str) -> str: ...

    def to_patches(self, pixels: str) -> str:
        """Pixels, which are float32, as `patches`."""

    def to_stream(self, x: str, dtype: str) -> str:
        """x, which has `dtype`, as the residual stream."""

    def stream_to_float32(self, x: str) -> str: ...

    def embed(self, ids: str, table: Table) -> str: ...

    def head(self, x: str, table: Table) -> str:
        """[B, K, D] -> logits [B, K, V], as activations."""

    def declare_logits(self, logits_BKV: str, vocab: int) -> None:
        """The decoder's answer, float32, and what else this engine's loop takes from it."""
