"""Turns a checkpoint's tensors into weights of a graph, in the form that a precision asks for.

Nothing is read here: each function returns promises (`Weight`) that read, join, cast or quantise their tensors when
the file is written, one matrix (or a bounded piece of a larger table) at a time.

Axes: N rows (outputs), K columns (inputs), G blocks of a row, E elements of a block, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ovexport.graphs.builder import Weight
from ovexport.precision.blocks import BlockForm, Blocks

TensorSource = Callable[[str], torch.Tensor]  # by parameter name of ovexport.model.OneVision
PIECE_ELEMENTS = 1 << 23  # 32 MiB as float32; quantisation holds about five times that for a moment

TORCH_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def vector(source: TensorSource, names: Sequence[str], dtype: str, size: int) -> Weight:
    """Biases or norm weights, joined one after another."""

    def pieces() -> Iterator[np.ndarray]:
        yield bytes_of(torch.cat([source(n).flatten().to(TORCH_TYPES[dtype]) for n in names]))

    return Weight(dtype=dtype, shape=(size,), pieces=pieces)


def array(source: TensorSource, name: str, dtype: str, shape: tuple[int, ...]) -> Weight:
    """A tensor as it is (a convolution's kernel, an embedding table), by pieces of its first axis."""

    def pieces() -> Iterator[np.ndarray]:
        for part in _row_pieces(source(name)):
            yield bytes_of(part.to(TORCH_TYPES[dtype]))

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
        yield bytes_of(weight_KN)

    return Weight(dtype=dtype, shape=(columns, rows), pieces=pieces)


@dataclass(frozen=True, kw_only=True)
class BlockWeights:
    """A matrix in blocks, as MatMulNBits takes it; `zeros` where its form has zero points."""

    codes: Weight
    scales: Weight
    zeros: Weight | None


def block_weights(source: TensorSource, names: Sequence[str], form: BlockForm, rows: int, columns: int) -> BlockWeights:
    """Matrices [n, K] stacked to [N, K], quantised once: scales and zero points, which are small, are kept from when
    the codes were written until they are.

    They are kept in memory that was there before the pieces. Kept piece by piece they would stand between the pieces'
    own memory, and none of that could be used again (6 GB more for the tables of the 7B shape).
    """
    block_size, groups = _blocks_of(form, columns)
    kept: list[Blocks] = []  # all rows at once, without their codes

    def codes() -> Iterator[np.ndarray]:
        kept.clear()
        scale_NG = torch.empty(rows, groups)
        zero_NG = torch.empty(rows, groups, dtype=torch.int8) if form.zero_points else None
        stop = 0
        for blocks in _quantized_pieces(source, names, form):
            start, stop = stop, stop + len(blocks.scale_NG)
            scale_NG[start:stop] = blocks.scale_NG
            if zero_NG is not None and blocks.zero_NG is not None:
                zero_NG[start:stop] = blocks.zero_NG
            yield pack_codes(blocks.q_NGE, form.bits)
        kept.append(Blocks(q_NGE=torch.empty(0), scale_NG=scale_NG, zero_NG=zero_NG))

    def small() -> Iterable[Blocks]:
        return list(kept) or _quantized_pieces(source, names, form)

    def scales() -> Iterator[np.ndarray]:
        yield from (blocks.scale_NG.numpy() for blocks in small())
        if not form.zero_points:
            kept.clear()

    def zeros() -> Iterator[np.ndarray]:
        for blocks in small():
            assert blocks.zero_NG is not None
            yield pack_codes(blocks.zero_NG, form.bits)
        kept.clear()

    zeros_shape = (rows, -(-groups * form.bits // 8))
    return BlockWeights(
        codes=Weight(dtype="uint8", shape=(rows, groups, block_size * form.bits // 8), pieces=codes),
        scales=Weight(dtype="float32", shape=(rows, groups), pieces=scales),
        zeros=Weight(dtype="uint8", shape=zeros_shape, pieces=zeros) if form.zero_points else None,
    )


def gather_scales(source: TensorSource, name: str, form: BlockForm, rows: int, columns: int) -> Weight:
    """The scales of a table once more, [N, G, 1], as GatherBlockQuantized takes them."""

    def pieces() -> Iterator[np.ndarray]:
        yield from (blocks.scale_NG.numpy() for blocks in _quantized_pieces(source, [name], form))

    return Weight(dtype="float32", shape=(rows, _blocks_of(form, columns)[1], 1), pieces=pieces)


def pack_codes(q: torch.Tensor, bits: int) -> np.ndarray:
    """Codes offset by half; of 4 bits two to a byte along the last axis, the low nibble first."""
    codes = (q.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
    if bits == 4:
        codes = torch.nn.functional.pad(codes, (0, codes.shape[-1] % 2))
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return codes.numpy()


def int4_matrix(source: TensorSource, names: Sequence[str], form: BlockForm, rows: int, columns: int) -> Weight:
    """Quantised matrices [n, K] stacked to [N, K] and stored as int4 [K, N], as DequantizeLinear(axis=0) takes them.

    K must be a multiple of the block, N of two.
    """

    def pieces() -> Iterator[np.ndarray]:
        blocks = [form.quantize(source(n)) for n in names]
        codes_KN = torch.cat([b.q_NGE.flatten(1) for b in blocks]).T.to(torch.uint8) & 0xF
        yield (codes_KN[:, 0::2] | (codes_KN[:, 1::2] << 4)).numpy()

    return Weight(dtype="int4", shape=(columns, rows), pieces=pieces)


def int4_scales(
    source: TensorSource, names: Sequence[str], form: BlockForm, rows: int, columns: int, dtype: str
) -> Weight:
    """The scales that go with `int4_matrix`, [G, N]."""

    def pieces() -> Iterator[np.ndarray]:
        scales = [form.quantize(source(n)).scale_NG for n in names]
        yield bytes_of(torch.cat(scales).T.contiguous().to(TORCH_TYPES[dtype]))

    return Weight(dtype=dtype, shape=(_blocks_of(form, columns)[1], rows), pieces=pieces)


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """As NumPy, which has no bfloat16: there the same bits as int16."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _quantized_pieces(source: TensorSource, names: Sequence[str], form: BlockForm) -> Iterator[Blocks]:
    for name in names:
        for part_NK in _row_pieces(source(name)):
            yield form.quantize(part_NK)


def _blocks_of(form: BlockForm, columns: int) -> tuple[int, int]:
    """(size of a block, blocks of a row)."""
    block_size = form.block_for(columns)
    assert block_size is not None
    return block_size, -(-columns // block_size)


def _row_pieces(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    row_elements = max(1, tensor[0].numel())
    yield from tensor.split(max(1, PIECE_ELEMENTS // row_elements))
