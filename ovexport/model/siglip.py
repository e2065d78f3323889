"""SigLIP vision tower: pixels of tiles -> features of patches (the left box of the paper's figure 1).

Legend: N tiles, C channels, P patches of a tile, D width of the tower. The tower holds one layer less than
the published SigLIP, and its features are the residual stream after the last layer held: `post_layernorm` is
kept but never applied.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ovexport.model.attention import attend, join_heads, split_heads
from ovexport.model.config import VisionConfig


class VisionTower(nn.Module):
    """Pixels [N, C, H, W], normalised -> [N, P, D] (transformers modeling_siglip, hidden_states[-1])."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False  # activations of the layers in the backward pass, in place of keeping them
        patch = config.patch_size_px
        self.patch_embedding = nn.Conv2d(config.num_channels, config.hidden, patch, stride=patch)
        self.position_embedding = nn.Embedding(config.patches_per_side**2, config.hidden)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_layers))
        if config.has_post_layernorm:
            self.post_layernorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)

    def forward(self, pixels_NCHW: torch.Tensor) -> torch.Tensor:
        x_NPD = self.patch_embedding(pixels_NCHW).flatten(2).transpose(1, 2)  # an edge of pixels is unseen
        x_NPD = x_NPD + self.position_embedding(torch.arange(x_NPD.shape[1], device=x_NPD.device))
        for layer in self.layers:
            x_NPD = checkpoint(layer, x_NPD, use_reentrant=False) if self.recompute and self.training else layer(x_NPD)
        return x_NPD


class VisionLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); attention looks both ways, every linear has a bias."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.mlp = VisionMLP(config)

    def forward(self, x_NPD: torch.Tensor) -> torch.Tensor:
        x_NPD = x_NPD + self.self_attn(self.layer_norm1(x_NPD))
        return x_NPD + self.mlp(self.layer_norm2(x_NPD))


class VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.q_proj = nn.Linear(config.hidden, config.hidden)
        self.k_proj = nn.Linear(config.hidden, config.hidden)
        self.v_proj = nn.Linear(config.hidden, config.hidden)
        self.out_proj = nn.Linear(config.hidden, config.hidden)

    def forward(self, x_NPD: torch.Tensor) -> torch.Tensor:
        q_NHPE, k_NHPE, v_NHPE = (
            split_heads(project(x_NPD), self.num_heads) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(join_heads(attend(q_NHPE, k_NHPE, v_NHPE, causal=False)))


class VisionMLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.hidden)

    def forward(self, x_NPD: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x_NPD), approximate="tanh"))
