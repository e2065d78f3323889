"""Symmetric block quantisation of weights, done once for every target: q * scale, blocks along K.

Axes: N rows (outputs), K columns (inputs), G blocks of a row, E elements of a block. Kept in torch: the weights
arrive as torch tensors and its kernels use all cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Shrinking the range a little loses the largest weight's tail and wins finer steps for all others;
# per block the ratio with the least squared error is kept. 1.0 alone is plain round-to-nearest.
CLIP_RATIOS = {4: (1.0, 0.92, 0.85, 0.78), 8: (1.0,)}


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """`q_NGE` int8 in [-2^(bits-1), 2^(bits-1)-1] and `scale_NG` float32; K is padded with zeros to whole blocks."""

    q_NGE: torch.Tensor
    scale_NG: torch.Tensor


def quantize_blocks(weight_NK: torch.Tensor, *, bits: int, block_size: int) -> Blocks:
    """Quantise the rows of a matrix in blocks of `block_size` along K; see `dequantize_blocks` for the inverse."""
    blocks_NGE = _split(weight_NK.to(torch.float32), block_size)
    q_max = 2 ** (bits - 1) - 1
    peak_NG1 = blocks_NGE.abs().amax(-1, keepdim=True)
    best_scale_NG1 = torch.zeros_like(peak_NG1)
    best_error_NG1 = torch.full_like(peak_NG1, torch.inf)
    for ratio in CLIP_RATIOS[bits]:
        scale_NG1 = (peak_NG1 * (ratio / q_max)).clamp_min(1e-20)
        error_NG1 = (_round(blocks_NGE, scale_NG1, q_max) * scale_NG1 - blocks_NGE).square_().sum(-1, keepdim=True)
        better = error_NG1 < best_error_NG1
        best_scale_NG1 = torch.where(better, scale_NG1, best_scale_NG1)
        best_error_NG1 = torch.where(better, error_NG1, best_error_NG1)
    q_NGE = _round(blocks_NGE, best_scale_NG1, q_max).to(torch.int8)
    return Blocks(q_NGE=q_NGE, scale_NG=best_scale_NG1.squeeze(-1))


def dequantize_blocks(blocks: Blocks, columns: int) -> torch.Tensor:
    """The matrix [N, K] that the blocks stand for; the reference that engines are compared with."""
    return (blocks.q_NGE * blocks.scale_NG[..., None]).flatten(1)[:, :columns]


def _split(weight_NK: torch.Tensor, block_size: int) -> torch.Tensor:
    padding = -weight_NK.shape[1] % block_size
    if padding:
        weight_NK = torch.nn.functional.pad(weight_NK, (0, padding))
    return weight_NK.unflatten(1, (-1, block_size))


def _round(blocks_NGE: torch.Tensor, scale_NG1: torch.Tensor, q_max: int) -> torch.Tensor:
    return (blocks_NGE / scale_NG1).round_().clamp_(-q_max - 1, q_max)
