"""Turns a checkpoint's tensors into weights of a graph, in the form that a precision asks for.

Nothing is read here: each function returns promises (`Weight`) that read, join, cast or quantise their tensors when
the file is written, one matrix (or a bounded piece of a larger table) at a time.

Axes: N rows (outputs), K columns (inputs), G blocks of a row, E elements of a block, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ovexport.graphs.builder import Weight
from ovexport.precision.blocks import Blocks, quantize_blocks

TensorSource = Callable[[str], torch.Tensor]  # by parameter name of ovexport.model.OneVision
BLOCK_SIZE = 32
PIECE_ELEMENTS = 1 << 23  # 32 MiB as float32; quantisation holds about five times that for a moment

TORCH_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def vector(source: TensorSource, names: Sequence[str], dtype: str, size: int) -> Weight:
    """Biases or norm weights, joined one after another."""

    def pieces() -> Iterator[np.ndarray]:
        yield _bytes_of(torch.cat([source(n).flatten().to(TORCH_TYPES[dtype]) for n in names]))

    return Weight(dtype=dtype, shape=(size,), pieces=pieces)


def array(source: TensorSource, name: str, dtype: str, shape: tuple[int, ...]) -> Weight:
    """A tensor as it is (a convolution's kernel, an embedding table), by pieces of its first axis."""

    def pieces() -> Iterator[np.ndarray]:
        for part in _row_pieces(source(name)):
            yield _bytes_of(part.to(TORCH_TYPES[dtype]))

    return Weight(dtype=dtype, shape=shape, pieces=pieces)


def transposed(source: TensorSource, names: Sequence[str], dtype: str, rows: int, columns: int) -> Weight:
    """Matrices [n, K] stacked to [N, K] and stored as [K, N], which is how MatMul takes them."""

    def pieces() -> Iterator[np.ndarray]:
        parts = [source(n).to(TORCH_TYPES[dtype]) for n in names]
        weight_KN = torch.empty(columns, rows, dtype=TORCH_TYPES[dtype])
        start = 0
        for part_NK in parts:
            weight_KN[:, start : start + len(part_NK)] = part_NK.T
            start += len(part_NK)
        parts.clear()
        yield _bytes_of(weight_KN)

    return Weight(dtype=dtype, shape=(columns, rows), pieces=pieces)


def block_codes(source: TensorSource, names: Sequence[str], bits: int, rows: int, columns: int) -> Weight:
    """Quantised rows [N, G, E * bits / 8] in the packing of MatMulNBits: offset by half, low nibble first."""
    groups = -(-columns // BLOCK_SIZE)

    def pieces() -> Iterator[np.ndarray]:
        for blocks in _quantized_pieces(source, names, bits):
            codes_NGE = (blocks.q_NGE.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
            if bits == 4:
                codes_NGE = codes_NGE[..., 0::2] | (codes_NGE[..., 1::2] << 4)
            yield codes_NGE.numpy()

    return Weight(dtype="uint8", shape=(rows, groups, BLOCK_SIZE * bits // 8), pieces=pieces)


def block_scales(
    source: TensorSource,
    names: Sequence[str],
    bits: int,
    rows: int,
    columns: int,
    shape: tuple[int, ...] | None = None,
) -> Weight:
    """The scales that go with `block_codes`, float32, [N, G] unless another shape is given."""

    def pieces() -> Iterator[np.ndarray]:
        for blocks in _quantized_pieces(source, names, bits):
            yield blocks.scale_NG.numpy()

    return Weight(dtype="float32", shape=shape or (rows, -(-columns // BLOCK_SIZE)), pieces=pieces)


def int4_matrix(source: TensorSource, names: Sequence[str], block_size: int, rows: int, columns: int) -> Weight:
    """Quantised matrices [n, K] stacked to [N, K] and stored as int4 [K, N], as DequantizeLinear(axis=0) takes them.

    K must be a multiple of the block, N of two.
    """

    def pieces() -> Iterator[np.ndarray]:
        blocks = [quantize_blocks(source(n), bits=4, block_size=block_size) for n in names]
        codes_KN = torch.cat([b.q_NGE.flatten(1) for b in blocks]).T.to(torch.uint8) & 0xF
        yield (codes_KN[:, 0::2] | (codes_KN[:, 1::2] << 4)).numpy()

    return Weight(dtype="int4", shape=(columns, rows), pieces=pieces)


def int4_scales(
    source: TensorSource, names: Sequence[str], block_size: int, rows: int, columns: int, dtype: str
) -> Weight:
    """The scales that go with `int4_matrix`, [G, N]."""

    def pieces() -> Iterator[np.ndarray]:
        scales = [quantize_blocks(source(n), bits=4, block_size=block_size).scale_NG for n in names]
        yield _bytes_of(torch.cat(scales).T.contiguous().to(TORCH_TYPES[dtype]))

    return Weight(dtype=dtype, shape=(columns // block_size, rows), pieces=pieces)


def _bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """As NumPy, which has no bfloat16: there the same bits as int16."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _quantized_pieces(source: TensorSource, names: Sequence[str], bits: int) -> Iterator[Blocks]:
    for name in names:
        for part_NK in _row_pieces(source(name)):
            yield quantize_blocks(part_NK, bits=bits, block_size=BLOCK_SIZE)


def _row_pieces(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    row_elements = max(1, tensor[0].numel())
    yield from tensor.split(max(1, PIECE_ELEMENTS // row_elements))
