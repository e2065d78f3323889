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
class BlockForm:
    """How a matrix is cut into blocks along K that share a scale.

    The block is halved, down to the least size, until it divides K; where none does, the rows are padded with zeros to
    blocks of the least size (`pads`), or the matrix stays as it is. With `zero_points` each block also says which code
    is 0, so that its codes reach from its least to its largest value.
    """

    bits: int
    block_size: int
    least_block_size: int = 32
    pads: bool = True
    zero_points: bool = False

    def block_for(self, columns: int) -> int | None:
        """The block of a matrix with K columns; None leaves it as it is."""
        size = self.block_size
        while columns % size and size > self.least_block_size:
            size //= 2
        return None if columns % size and not self.pads else size

    def quantize(self, weight_NK: torch.Tensor) -> Blocks:
        """The blocks of a matrix that this form takes; see `dequantize_blocks` for the inverse."""
        block_size = self.block_for(weight_NK.shape[1])
        assert block_size is not None, f"{tuple(weight_NK.shape)} is not in blocks"
        quantize = quantize_ranges if self.zero_points else quantize_blocks
        return quantize(weight_NK, bits=self.bits, block_size=block_size)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """(q - zero) * scale. `q_NGE` and `zero_NG` int8 in [-2^(bits-1), 2^(bits-1)-1], `scale_NG` float32; K is padded
    with zeros to whole blocks."""

    q_NGE: torch.Tensor
    scale_NG: torch.Tensor
    zero_NG: torch.Tensor | None = None  # 0 for all


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


def quantize_ranges(weight_NK: torch.Tensor, *, bits: int, block_size: int) -> Blocks:
    """As `quantize_blocks`, with a zero point for each block. A weight of 0 stays 0."""
    blocks_NGE = _split(weight_NK.to(torch.float32), block_size)
    low_NG1 = blocks_NGE.amin(-1, keepdim=True).clamp_max(0)
    high_NG1 = blocks_NGE.amax(-1, keepdim=True).clamp_min(0)
    codes = 2**bits - 1
    best_scale_NG1, best_zero_NG1 = torch.zeros_like(low_NG1), torch.zeros_like(low_NG1)
    best_error_NG1 = torch.full_like(low_NG1, torch.inf)
    for ratio in CLIP_RATIOS[bits]:
        scale_NG1 = ((high_NG1 - low_NG1) * (ratio / codes)).clamp_min(1e-20)
        zero_NG1 = (-low_NG1 * ratio / scale_NG1).round_().clamp_(0, codes)
        steps_NGE = _steps(blocks_NGE, scale_NG1, zero_NG1, codes)
        # The scale that suits these codes best; they are chosen once more by it.
        square_NG1 = steps_NGE.square().sum(-1, keepdim=True)
        fitted_NG1 = (steps_NGE * blocks_NGE).sum(-1, keepdim=True) / square_NG1.clamp_min(1)
        scale_NG1 = torch.where(fitted_NG1 > 0, fitted_NG1, scale_NG1)
        steps_NGE = _steps(blocks_NGE, scale_NG1, zero_NG1, codes)
        error_NG1 = (steps_NGE * scale_NG1).sub_(blocks_NGE).square_().sum(-1, keepdim=True)
        better = error_NG1 < best_error_NG1
        best_scale_NG1 = torch.where(better, scale_NG1, best_scale_NG1)
        best_zero_NG1 = torch.where(better, zero_NG1, best_zero_NG1)
        best_error_NG1 = torch.where(better, error_NG1, best_error_NG1)
    middle = 2 ** (bits - 1)
    steps_NGE = _steps(blocks_NGE, best_scale_NG1, best_zero_NG1, codes)
    return Blocks(
        q_NGE=(steps_NGE + (best_zero_NG1 - middle)).to(torch.int8),
        scale_NG=best_scale_NG1.squeeze(-1),
        zero_NG=(best_zero_NG1 - middle).squeeze(-1).to(torch.int8),
    )


def dequantize_blocks(blocks: Blocks, columns: int) -> torch.Tensor:
    """The matrix [N, K] that the blocks stand for; the reference that engines are compared with."""
    steps_NGE = blocks.q_NGE if blocks.zero_NG is None else blocks.q_NGE - blocks.zero_NG[..., None]
    return (steps_NGE * blocks.scale_NG[..., None]).flatten(1)[:, :columns]


def _split(weight_NK: torch.Tensor, block_size: int) -> torch.Tensor:
    padding = -weight_NK.shape[1] % block_size
    if padding:
        weight_NK = torch.nn.functional.pad(weight_NK, (0, padding))
    return weight_NK.unflatten(1, (-1, block_size))


def _round(blocks_NGE: torch.Tensor, scale_NG1: torch.Tensor, q_max: int) -> torch.Tensor:
    return (blocks_NGE / scale_NG1).round_().clamp_(-q_max - 1, q_max)


def _steps(blocks_NGE: torch.Tensor, scale_NG1: torch.Tensor, zero_NG1: torch.Tensor, codes: int) -> torch.Tensor:
    """How many steps from zero each value is, between code 0 and the last code."""
    return torch.minimum(torch.maximum((blocks_NGE / scale_NG1).round_(), -zero_NG1), codes - zero_NG1)
