"""Qwen2, the language model: token embeddings -> hidden states -> logits, with an optional KV-cache.

Legend: B batch, S new positions, C cached plus new positions, K positions whose logits are asked for, V
vocabulary rows, D width, H query heads, G key/value heads, E width of a head. Sources: transformers
modeling_qwen2. Right-padded batches need no mask: attention is causal, so no real token ever sees the padding
behind it.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ovexport.model.attention import attend, join_heads, rotary_angles, rotate, split_heads
from ovexport.model.config import LanguageConfig
from ovexport.model.upcast import linear

# One (k_BGCE, v_BGCE) per layer; an empty list is an empty cache.
KVCache = list[tuple[torch.Tensor, torch.Tensor]]


class LanguageModel(nn.Module):
    """`embed`, `forward` and `logits` are the three steps; each is a part of the exported decoder."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False  # activations of the layers in the backward pass, in place of keeping them
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden, config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden, config.vocab_size, bias=False)

    def embed(self, ids_BS: torch.Tensor) -> torch.Tensor:
        """[B, S] -> [B, S, D]."""
        return self.embed_tokens(ids_BS)

    def forward(
        self,
        embeds_BSD: torch.Tensor,
        positions_BS: torch.Tensor | None = None,
        cache: KVCache | None = None,
        visible_B1SS: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[B, S, D] -> hidden states after the final norm, [B, S, D].

        A cache given is read and extended in place (its tensors are replaced, S positions longer). Positions
        count on from the cache unless they are given. `visible_B1SS` is `visible_mask` of packed rows, without a cache.
        """
        B, S, _ = embeds_BSD.shape
        if positions_BS is None:
            past = cache[0][0].shape[2] if cache else 0
            positions_BS = torch.arange(past, past + S, device=embeds_BSD.device).expand(B, S)
        config = self.config
        cos_sin = rotary_angles(positions_BS, config.head_dim, config.rope_theta, embeds_BSD.dtype)
        pasts: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * config.num_layers
        pasts[: len(cache or ())] = cache or ()
        hidden_BSD = embeds_BSD
        for index, layer in enumerate(self.layers):
            run = partial(checkpoint, layer, use_reentrant=False) if self.recompute and self.training else layer
            hidden_BSD, keys_values = run(hidden_BSD, cos_sin, pasts[index], visible_B1SS)
            if cache is not None:
                cache[index : index + 1] = [keys_values]
        return self.norm(hidden_BSD)

    def logits(self, hidden_BKD: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., V] in the dtype of the hidden states. A tied head is the embedding table."""
        return linear(hidden_BKD, self.head_weight_VD)

    @property
    def head_weight_VD(self) -> torch.Tensor:
        return self.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden, config.rms_norm_eps)
        self.self_attn = GroupedQueryAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.rms_norm_eps)
        self.mlp = SwiGLU(config)

    def forward(
        self,
        x_BSD: torch.Tensor,
        cos_sin: tuple[torch.Tensor, torch.Tensor],
        past: tuple[torch.Tensor, torch.Tensor] | None,
        visible_B1SS: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        attended_BSD, keys_values = self.self_attn(self.input_layernorm(x_BSD), cos_sin, past, visible_B1SS)
        x_BSD = x_BSD + attended_BSD
        return x_BSD + self.mlp(self.post_attention_layernorm(x_BSD)), keys_values


class GroupedQueryAttention(nn.Module):
    """Biases on q, k and v only. Returns the output and all keys (already rotated) and values so far."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.q_proj = nn.Linear(config.hidden, config.num_heads * config.head_dim)
        self.k_proj = nn.Linear(config.hidden, config.num_kv_heads * config.head_dim)
        self.v_proj = nn.Linear(config.hidden, config.num_kv_heads * config.head_dim)
        self.o_proj = nn.Linear(config.num_heads * config.head_dim, config.hidden, bias=False)

    def forward(
        self,
        x_BSD: torch.Tensor,
        cos_sin: tuple[torch.Tensor, torch.Tensor],
        past: tuple[torch.Tensor, torch.Tensor] | None,
        visible_B1SS: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        q_BHSE = rotate(split_heads(self.q_proj(x_BSD), self.num_heads), *cos_sin)
        k_BGCE = rotate(split_heads(self.k_proj(x_BSD), self.num_kv_heads), *cos_sin)
        v_BGCE = split_heads(self.v_proj(x_BSD), self.num_kv_heads)
        if past is not None:
            k_BGCE, v_BGCE = torch.cat([past[0], k_BGCE], dim=2), torch.cat([past[1], v_BGCE], dim=2)
        y_BSD = self.o_proj(join_heads(attend(q_BHSE, k_BGCE, v_BGCE, causal=True, visible_B1SC=visible_B1SS)))
        return y_BSD, (k_BGCE, v_BGCE)


class SwiGLU(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x_BSD: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BSD)) * self.up_proj(x_BSD))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) in float32, cast back, times the weight."""

    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden))

    def forward(self, x_BSD: torch.Tensor) -> torch.Tensor:
        x_float_BSD = x_BSD.float()
        scale_BS1 = torch.rsqrt(x_float_BSD.square().mean(dim=-1, keepdim=True) + self.eps)
        return self.weight.to(x_BSD.dtype) * (x_float_BSD * scale_BS1).to(x_BSD.dtype)
