"""Attention and rotary positions as plain functions, shared by the tower and the language model.

Legend: B batch, H query heads, G key/value heads (H is a multiple of G), S new positions, C cached plus new
positions, E width of a head. Knows no parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def split_heads(x_BSD: torch.Tensor, num_heads: int) -> torch.Tensor:
    """[B, S, H*E] -> [B, H, S, E]."""
    return x_BSD.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(x_BHSE: torch.Tensor) -> torch.Tensor:
    """[B, H, S, E] -> [B, S, H*E]."""
    return x_BHSE.transpose(1, 2).flatten(2)


def attend(
    q_BHSE: torch.Tensor,
    k_BGCE: torch.Tensor,
    v_BGCE: torch.Tensor,
    *,
    causal: bool,
    visible_B1SC: torch.Tensor | None = None,
) -> torch.Tensor:
    """softmax(q k' / sqrt(E)) v, the softmax in float32; query head h reads key/value head h // (H / G).

    Causal: the S queries are the last S of the C positions. `visible_B1SC` takes the place of that rule where rows hold
    more than one sequence (`visible_mask`). Returns [B, H, S, E].
    """
    S, C = q_BHSE.shape[2], k_BGCE.shape[2]
    group = q_BHSE.shape[1] // k_BGCE.shape[1]
    k_BHCE, v_BHCE = k_BGCE, v_BGCE
    if group > 1:
        k_BHCE, v_BHCE = k_BGCE.repeat_interleave(group, dim=1), v_BGCE.repeat_interleave(group, dim=1)
    if visible_B1SC is not None:
        return F.scaled_dot_product_attention(q_BHSE, k_BHCE, v_BHCE, attn_mask=visible_B1SC)
    if not causal or S == 1:
        return F.scaled_dot_product_attention(q_BHSE, k_BHCE, v_BHCE)
    if S == C:  # spares the mask of a long prompt
        return F.scaled_dot_product_attention(q_BHSE, k_BHCE, v_BHCE, is_causal=True)
    seen_SC = torch.ones(S, C, dtype=torch.bool, device=q_BHSE.device).tril(diagonal=C - S)
    return F.scaled_dot_product_attention(q_BHSE, k_BHCE, v_BHCE, attn_mask=seen_SC)


def visible_mask(sample_BS: torch.Tensor, exchange_BS: torch.Tensor) -> torch.Tensor:
    """What each position of a packed row sees, bool [B, 1, S, S]: the past of its own sample and its own exchange.

    Exchange 0 is what all exchanges of a sample share (system turn and media), so all of them see it. Padding, of a
    sample of its own, sees padding: a row of the softmax without any key would be NaN.
    """
    past_SS = torch.ones(sample_BS.shape[1], sample_BS.shape[1], dtype=torch.bool, device=sample_BS.device).tril()
    same_BSS = sample_BS[:, :, None] == sample_BS[:, None, :]
    shared_BSS = (exchange_BS[:, None, :] == 0) | (exchange_BS[:, :, None] == exchange_BS[:, None, :])
    return (past_SS & same_BSS & shared_BSS)[:, None]


def rotary_angles(
    positions_BS: torch.Tensor, head_dim: int, theta: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, [B, 1, S, E], of position * theta^(-2i/E), both halves of E alike. In float32 inside."""
    exponent_F = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions_BS.device) / head_dim
    inverse_frequency_F = 1.0 / theta**exponent_F
    angle_BSF = positions_BS[..., None].float() * inverse_frequency_F
    angle_B1SE = torch.cat([angle_BSF, angle_BSF], dim=-1)[:, None]
    return angle_B1SE.cos().to(dtype), angle_B1SE.sin().to(dtype)


def rotate(x_BHSE: torch.Tensor, cos_B1SE: torch.Tensor, sin_B1SE: torch.Tensor) -> torch.Tensor:
    """Turn each pair (x[i], x[i + E/2]) by its angle: the half-split form of RoPE, Qwen2's."""
    first_BHSF, second_BHSF = x_BHSE.chunk(2, dim=-1)
    return x_BHSE * cos_B1SE + torch.cat([-second_BHSF, first_BHSF], dim=-1) * sin_B1SE
